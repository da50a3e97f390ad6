"""Extracts pooled features with the frozen backbone and stores them in memory-mapped files."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models.cut_offs import build_tap_model, tap_widths
from radiograft.models.feature_layers import feature_parts
from radiograft.models.predictor import Predictor, stream_to_file
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints, weights_digest

log = logging.getLogger(__name__)

FITTED_SPLITS = ("train", "validation")
BATCHES_PER_PIECE = 16  # batches of features in a checkpoint
ROWS_PER_CHUNK = 4096
MIN_DEVIATION = 0.1
IMAGE_ALONE = "image_alone"  # folder of the network without patient data, below that with them
RANDOM_PREDICTIONS = "random_weights_validation.parquet"


@dataclasses.dataclass(frozen=True)
class FeatureSet:
    """Pooled features of all tapped layers.

    Attributes:
        backbone: the frozen network.
        layers: names of the tapped layers, from the input to the output.
        widths: number of channels of each layer.
        stored: features by split, float16 [images, sum of widths], memory-mapped; the layers are concatenated.
    """

    backbone: keras.Model
    layers: list[str]
    widths: list[int]
    stored: dict[str, np.ndarray]

    def of(self, layers: Sequence[str], split: str, data: Shards) -> CachedActivations:
        """Returns the features of some layers and one split as activations with a single view.

        Args:
            layers: from the input to the output.

        Returns:
            One array [1, images, channels] for each part, see `radiograft.models.feature_layers.feature_parts`.
        """
        parts = [part[None] for part in self._parts(layers, split)]
        ids = list(data.split(split)["image_id"])
        return CachedActivations(parts, data.split_targets(split), ids, data.further_of(split))

    def scales(self, layers: Sequence[str]) -> list[np.ndarray]:
        """Returns mean and variance of the training features, each float32 [channels of all parts].

        The standard deviation is at least MIN_DEVIATION of its root mean square over the channels of a part, so that a
        channel that is constant in training does not dominate elsewhere.
        """
        moments = [_moments(part) for part in self._parts(layers, "train")]
        return [np.concatenate(parts).astype("float32") for parts in zip(*moments, strict=True)]

    def _parts(self, layers: Sequence[str], split: str) -> list[np.ndarray]:
        starts = dict(zip(self.layers, np.cumsum([0, *self.widths[:-1]]).tolist(), strict=True))
        return [
            self.stored[split][:, starts[part.layer] :][:, part.channels]
            for part in feature_parts(self.backbone, layers)
        ]


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and bounded variance of each channel; a few rows at a time are in memory."""
    chunks = [features[start : start + ROWS_PER_CHUNK] for start in range(0, len(features), ROWS_PER_CHUNK)]
    mean = sum(chunk.sum(axis=0, dtype="float64") for chunk in chunks) / len(features)
    variance = sum(np.square(chunk - mean).sum(axis=0) for chunk in chunks) / len(features)
    return mean, np.maximum(variance, MIN_DEVIATION**2 * variance.mean() or 1.0)


def extract_features(
    backbone: keras.Model,
    layers: Sequence[str],
    data: Shards,
    batch_size: int,
    strategy: tf.distribute.Strategy,
    folder: Path,
    checkpoints: Checkpoints,
) -> FeatureSet:
    """Runs the backbone once on the training and validation images and pools the outputs of the given layers.

    The features are stored in `<folder>/<split>.npy`. Batches found in `checkpoints` are not computed again.

    Raises:
        FloatingPointError: a feature is too large for half precision.
    """
    backbone.trainable = False
    extractor = build_tap_model(backbone, layers)
    folder.mkdir(parents=True, exist_ok=True)
    stored, predictor = {}, Predictor(extractor, strategy)
    key = (weights_digest(backbone), data.identity(), batch_size)
    for split in FITTED_SPLITS:
        rows = len(data.split(split))
        log.debug("%d images of %s through %s", rows, split, extractor.name)
        outputs = _iter_features(predictor, data.images(split, batch_size), checkpoints.of(split, *key))
        stored[split] = stream_to_file(outputs, rows, folder / f"{split}.npy")
    return FeatureSet(backbone, list(layers), tap_widths(backbone, layers), stored)


def _iter_features(predictor: Predictor, batches: tf.data.Dataset, checkpoints: Checkpoints) -> Iterator[np.ndarray]:
    """Yields the features [n, width] of all images.

    Features from checkpoints of an earlier attempt come first. The others are computed, and a checkpoint is saved after
    every BATCHES_PER_PIECE batches.
    """
    done, pending = 0, []
    for piece in checkpoints.all():
        yield piece.arrays["features"]
        done = piece.number
    if done:
        log.info("resuming after %d batches", done)
    for number, output in enumerate(predictor.iter_outputs(batches.skip(done)), start=done + 1):
        yield output
        pending.append(output.astype("float16"))
        if number % BATCHES_PER_PIECE == 0:
            checkpoints.save(number, {"features": np.concatenate(pending)}, {}, keep=True)
            pending.clear()
