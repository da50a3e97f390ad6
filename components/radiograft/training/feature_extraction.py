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
from radiograft.models.predictor import Predictor, stream_to_file
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints, weights_digest

log = logging.getLogger(__name__)

FITTED_SPLITS = ("train", "validation")
BATCHES_PER_PIECE = 16  # batches of features in a checkpoint
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

    def of(self, layer: str, split: str, data: Shards) -> CachedActivations:
        """Returns the features of one layer and split as activations with a single view, [1, images, channels]."""
        number = self.layers.index(layer)
        start = sum(self.widths[:number])
        features = self.stored[split][None, :, start : start + self.widths[number]]
        return CachedActivations([features], data.split_targets(split), list(data.split(split)["image_id"]))


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
