"""Extracts pooled features with the frozen backbone and stores them in memory-mapped files."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from radiograft.config.training import TENSORFLOW
from radiograft.data.shards.dataset import Shards
from radiograft.models.feature_layers import build_distinct_taps, feature_parts
from radiograft.models.predictor import MAX_FLOAT16, Predictor, create_memmap, stream_to_file
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints, weights_digest
from radiograft.training.frozen_engines import build_predictor, choose_engine

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
        columns: columns of `stored` that are, joined, the channels of each tapped layer, by name, from the input to the
            output. Layers share columns if one concatenates the outputs of others, as in DenseNet.
        stored: features by split, float16 [images, distinct channels], memory-mapped.
        lateral: features of the lateral images, if the network reads them.
        engine: what ran the frozen layers, see `train_frozen_engine`.
        maps: output of the deepest layer by split, float16 [images, height, width, channels], memory-mapped; empty
            unless a head needs it.
    """

    backbone: keras.Model
    columns: dict[str, tuple[slice, ...]]
    stored: dict[str, np.ndarray]
    engine: str = TENSORFLOW
    lateral: FeatureSet | None = None
    maps: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    @property
    def layers(self) -> list[str]:
        """Names of the tapped layers, from the input to the output."""
        return list(self.columns)

    def layer(self, name: str, split: str) -> np.ndarray:
        """Returns the features of one layer and one split, float16 [images, channels]; a view if they are adjacent."""
        parts = [self.stored[split][:, columns] for columns in self.columns[name]]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def of(self, layers: Sequence[str], split: str, data: Shards) -> CachedActivations:
        """Returns the features of some layers and one split as activations with a single copy.

        Args:
            layers: from the input to the output.

        Returns:
            One array [1, images, channels] for each part, see `radiograft.models.feature_layers.feature_parts`; with
            lateral images in the order of `radiograft.models.lateral.view_parts`.
        """
        parts = [part[None] for part in self._parts(layers, split)]
        if self.lateral is not None:
            present = has_lateral_image(data, split).astype("float16")[None, :, None]
            parts += [*(part[None] for part in self.lateral._parts(layers, split)), present]
        return _activations(parts, split, data)

    def last_map(self, split: str, data: Shards) -> CachedActivations:
        """Returns the stored maps of one split as activations with one copy, [1, images, height, width, channels]."""
        return _activations([self.maps[split][None]], split, data)

    def scales(self, layers: Sequence[str], chosen: np.ndarray | None = None) -> list[np.ndarray]:
        """Returns mean and variance of the training features, each float32 [channels of all parts].

        The standard deviation is at least MIN_DEVIATION of its root mean square over the channels of a part, so that a
        channel that is constant in training does not dominate elsewhere.

        Args:
            layers: from the input to the output.
            chosen: bool [images], which training images count; all if not given.
        """
        moments = [_moments(part if chosen is None else part[chosen]) for part in self._parts(layers, "train")]
        return [np.concatenate(parts).astype("float32") for parts in zip(*moments, strict=True)]

    def _parts(self, layers: Sequence[str], split: str) -> list[np.ndarray]:
        return [self.layer(part.layer, split)[:, part.channels] for part in feature_parts(self.backbone, layers)]


def has_lateral_image(data: Shards, split: str) -> np.ndarray:
    """Returns which studies of a split have a lateral image, bool [images]."""
    return data.split(split)["lateral"].notna().to_numpy()


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
    map_folder: Path | None = None,
    engine: str = TENSORFLOW,
) -> FeatureSet:
    """Runs the backbone once on the training and validation images and pools the outputs of the given layers.

    The distinct features are stored in `<folder>/<split>.npy`. Batches found in `checkpoints` are not computed again,
    unless maps are stored, which are too large for checkpoints.

    Args:
        map_folder: where the output of the deepest layer is stored too, before pooling; None for nowhere.
        engine: the setting `train_frozen_engine`.

    Raises:
        FloatingPointError: a number is too large for half precision.
        OSError: the files do not fit on the disk.
    """
    backbone.trainable = False
    extractor, columns = build_distinct_taps(backbone, layers)
    folder.mkdir(parents=True, exist_ok=True)
    stored, maps = {}, dict[str, np.ndarray]()
    last = backbone.get_layer(layers[-1]).output
    width = int(extractor.output.shape[-1])  # a checkpoint of another width is not of these features
    key = (weights_digest(backbone), data.identity(), batch_size, width)
    images, count = data.images("train", batch_size), sum(len(data.split(split)) for split in FITTED_SPLITS)
    kept = checkpoints.of("frozen_engine", *key)
    engine = choose_engine(engine, extractor, columns, images, count, strategy, kept)
    network = keras.Model(backbone.input, [extractor.output, last]) if map_folder else extractor
    predictor = build_predictor(network, strategy, engine)
    for split in FITTED_SPLITS:
        rows = len(data.split(split))
        log.debug("%d images of %s through %s", rows, split, extractor.name)
        images = data.images(split, batch_size)
        if map_folder:
            maps[split] = _create_map_file(map_folder, split, (rows, *last.shape[1:]))
            outputs = _write_maps(predictor.iter_batches(images), maps[split])
        else:
            outputs = _iter_features(predictor, images, checkpoints.of(split, *key, engine))
        stored[split] = stream_to_file(outputs, rows, folder / f"{split}.npy")
    return FeatureSet(backbone, columns, stored, engine, maps=maps)


def _create_map_file(folder: Path, split: str, shape: tuple[int, ...]) -> np.ndarray:
    """Creates the file for the maps of a split, with a message of its own if the disk is too small."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return create_memmap(folder / f"{split}.npy", shape)
    except OSError as error:
        raise OSError(
            error.errno,
            "the last activation of all images must fit on the disk for a head over the class map: choose "
            f"model_pooling=average, a smaller image_size or a larger disk: {error}",
        ) from error


def _write_maps(batches: Iterator[list[np.ndarray]], maps: np.ndarray) -> Iterator[np.ndarray]:
    """Writes the second output of each batch to consecutive rows of `maps` and yields the first."""
    start = 0
    for features, last in batches:
        if not (largest := float(np.abs(last).max(initial=0.0))) <= MAX_FLOAT16:
            raise FloatingPointError(
                f"the last activation must stay below {MAX_FLOAT16:g} for a head over the class map, got {largest:g}: "
                "choose model_pooling=average"
            )
        maps[start : start + len(last)] = last
        start += len(last)
        yield features


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


def _activations(parts: list[np.ndarray], split: str, data: Shards) -> CachedActivations:
    ids = list(data.split(split)["image_id"])
    return CachedActivations(parts, data.split_targets(split), ids, data.further_of(split))
