"""Pooled features of the frozen backbone: computed once, kept in memory-mapped files, served in batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.modeling.inference import stream, stream_to_file
from components.modeling.taps import candidates, tapped, widths
from components.shards import Shards
from components.stage import log

FITTED_SPLITS = ("train", "validation")


@dataclasses.dataclass(frozen=True)
class Extraction:
    """Pooled features of all tapped layers.

    Attributes:
        backbone: the frozen network.
        layers, widths: the tapped layers from the input on, and their channels.
        stored: float16 [pictures, sum of widths] by split, memory-mapped, in stored order, the layers side by side.
    """

    backbone: keras.Model
    layers: list[str]
    widths: list[int]
    stored: dict[str, np.ndarray]

    def of(self, layer: str) -> dict[str, np.ndarray]:
        """One layer's features by split, float16 [pictures, channels]."""
        number = self.layers.index(layer)
        start = sum(self.widths[:number])
        return {split: stored[:, start : start + self.widths[number]] for split, stored in self.stored.items()}


def extract(
    backbone: keras.Model, data: Shards, batch_size: int, strategy: tf.distribute.Strategy, folder: Path
) -> Extraction:
    """Runs training and validation pictures through the backbone once, pooling every candidate layer on the way.

    The features stay in `<folder>/<split>.npy`.

    Raises:
        FloatingPointError: a feature is too large for half precision.
    """
    backbone.trainable = False
    layers = candidates(backbone)
    extractor = tapped(backbone, layers)
    folder.mkdir(parents=True, exist_ok=True)
    stored = {}
    for split in FITTED_SPLITS:
        rows = len(data.split(split))
        log.debug("%d pictures of %s through %s", rows, split, extractor.name)
        outputs = stream(extractor, data.pictures(split, batch_size), strategy)
        stored[split] = stream_to_file(outputs, rows, folder / f"{split}.npy")
    return Extraction(backbone, layers, widths(backbone, layers), stored)


def in_order(features: np.ndarray, truth: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Batches of (features, labels) in stored order, one pass, the last batch as small as it comes."""

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(features), batch_size):
            # Copies: TensorFlow takes arrays over as they are, and two replicas on one CPU would write into slices.
            yield features[start : start + batch_size].astype("float32"), truth[start : start + batch_size].copy()

    return _dataset(batches, features, truth, -(-len(features) // batch_size))


def shuffled(features: np.ndarray, truth: np.ndarray, batch_size: int, epochs: int, seed: int) -> tf.data.Dataset:
    """Full batches of (features, labels) for all epochs on end, each epoch in its own order drawn from the seed."""

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        random = np.random.default_rng(seed)
        for _ in range(epochs):
            order = random.permutation(len(features))
            for start in range(0, len(order) - batch_size + 1, batch_size):
                chosen = order[start : start + batch_size]
                yield features[chosen].astype("float32"), truth[chosen]

    return _dataset(batches, features, truth, epochs * (len(features) // batch_size))


def _dataset(
    batches: Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]],
    features: np.ndarray,
    truth: np.ndarray,
    count: int,
) -> tf.data.Dataset:
    signature = (
        tf.TensorSpec([None, features.shape[1]], tf.float32),
        tf.TensorSpec([None, truth.shape[1]], tf.float32),
    )
    stream = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return stream.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)
