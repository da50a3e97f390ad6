"""Activations at the cut: the prefix runs once for each augmented view; its outputs lie memory-mapped on disk."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models.predictor import MAX_FLOAT16, Predictor
from radiograft.storage import memmap

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CachedActivations:
    """What the frozen side made of each view of each image.

    Attributes:
        parts: one float16 array [views, images, ...] a frontier tensor.
        truth: float32 [images, labels], NaN where unknown.
        image_ids: of the images.
    """

    parts: list[np.ndarray]
    truth: np.ndarray
    image_ids: list[str]

    @property
    def views(self) -> int:
        """How many augmented views of each image there are."""
        return len(self.parts[0])

    def training(self, batch_size: int, epochs: range, seed: int) -> tf.data.Dataset:
        """Full batches of (activations, labels) of these epochs on end: epoch e shows view e modulo `views`, in an
        order that depends on seed and epoch alone."""
        steps = len(self.truth) // batch_size

        def batches() -> Iterator[tuple[Any, np.ndarray]]:
            for epoch, step in itertools.product(epochs, range(steps)):
                rows = self._rows(batch_size, epoch, step, seed)
                yield _alone([part[epoch % self.views][rows] for part in self.parts]), self.truth[rows]

        signature = (self._signature(), tf.TensorSpec([None, self.truth.shape[1]], tf.float32))
        return _dataset(batches, signature, len(epochs) * steps)

    def training_ids(self, batch_size: int, epoch: int, step: int, seed: int) -> list[str]:
        """Ids of the images that `training` puts into a step of an epoch, both counted from 0."""
        return [self.image_ids[row] for row in self._rows(batch_size, epoch, step, seed)]

    def in_order(self, batch_size: int, view: int = 0) -> tf.data.Dataset:
        """Batches of one view's activations in stored order, the last as small as it comes."""

        def batches() -> Iterator[Any]:
            for start in range(0, len(self.truth), batch_size):
                # Copies: TensorFlow takes arrays over as they are, and two replicas on one CPU would write into slices.
                yield _alone([part[view, start : start + batch_size].copy() for part in self.parts])

        return _dataset(batches, self._signature(), -(-len(self.truth) // batch_size))

    def discard(self) -> None:
        """Deletes the files and lets go of them, so that the disk has their space again. Nothing can be read then."""
        for part in self.parts:
            if isinstance(part, np.memmap) and part.filename:
                Path(part.filename).unlink()
        self.parts.clear()

    def _rows(self, batch_size: int, epoch: int, step: int, seed: int) -> np.ndarray:
        order = _order(seed, epoch, len(self.truth))
        return order[step * batch_size : (step + 1) * batch_size]

    def _signature(self) -> Any:
        return _alone([tf.TensorSpec([None, *part.shape[2:]], tf.float16) for part in self.parts])


def _alone(parts: list[Any]) -> Any:
    """What Keras wants of a network's inputs: one by itself, several as a tuple."""
    return tuple(parts) if len(parts) > 1 else parts[0]


@functools.lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(images)


def _dataset(batches: Callable[[], Iterator[Any]], signature: Any, count: int) -> tf.data.Dataset:
    stream = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return stream.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)


def cache_activations(
    prefix: Predictor,
    data: Shards,
    split: str,
    *,
    views: int,
    batch_size: int,
    seed: int,
    folder: Path,
) -> CachedActivations:
    """Runs the prefix over `views` augmented views of a split; with 0 views over the images as they are.

    Raises:
        FloatingPointError: an activation is too large for half precision.
    """
    parts = _files(prefix, folder, split, max(views, 1), len(data.split(split)))
    for view in range(max(views, 1)):
        log.debug("%s: view %d of %d through the frozen layers", split, view + 1, max(views, 1))
        images = data.views(split, view, batch_size, seed) if views else data.images(split, batch_size)
        _store(prefix.iter_batches(images), [part[view] for part in parts])
    return CachedActivations(parts, data.truth(split), list(data.split(split)["image_id"]))


def extend_activations(
    activations: CachedActivations, between: Predictor, split: str, *, batch_size: int, folder: Path
) -> CachedActivations:
    """The activations at a deeper cut, computed from those at a shallower one and not from the images.

    Args:
        between: see `radiograft.models.graph_split.bridge_model`; the layers must have the weights they are frozen with.
        folder: another one than the shallower activations'. Both are on disk until these are told to `discard`.

    Raises:
        FloatingPointError: an activation is too large for half precision.
    """
    parts = _files(between, folder, split, activations.views, len(activations.truth))
    for view in range(activations.views):
        log.debug("%s: view %d of %d on to the next cut-off", split, view + 1, activations.views)
        _store(between.iter_batches(activations.in_order(batch_size, view)), [part[view] for part in parts])
    return dataclasses.replace(activations, parts=parts)


def _files(network: Predictor, folder: Path, split: str, views: int, images: int) -> list[np.ndarray]:
    """An empty memory-mapped file for each output of the network."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        memmap.create_memmap(folder / f"{split}-{number}.npy", (views, images, *tensor.shape[1:]))
        for number, tensor in enumerate(network.model.outputs)
    ]


def _store(batches: Iterator[list[np.ndarray]], parts: list[np.ndarray]) -> None:
    start = 0
    for outputs in batches:
        for part, output in zip(parts, outputs, strict=True):
            if not np.abs(output).max(initial=0.0) <= MAX_FLOAT16:
                raise FloatingPointError(
                    f"cached activations must stay below {MAX_FLOAT16:g}, got {np.abs(output).max()}; "
                    "choose train_augmentation=online"
                )
            part[start : start + len(output)] = output
        start += len(outputs[0])


def bytes_needed(bytes_a_view: int, data: Shards, views: int) -> int:
    """Size of the cache of training (`views` times) and validation (once)."""
    return bytes_a_view * (len(data.split("train")) * views + len(data.split("validation")))


def peak_bytes(bytes_a_view: Sequence[int]) -> int:
    """The most of one view that lies on disk while caches are extended from one cut-off to the next: each cut-off's
    bytes with its neighbor's."""
    return max(map(sum, itertools.pairwise(bytes_a_view)), default=sum(bytes_a_view))


def should_cache(wanted: str, needed: int, scratch: Path) -> tuple[bool, str]:
    """Whether to cache, and why.

    Raises:
        OSError: `cached` was asked for and the disk is too small.
    """
    free = shutil.disk_usage(scratch).free
    sizes = f"the cache needs {needed / 1e6:,.1f} MB, {scratch} has {free / 1e6:,.1f} MB free"
    if wanted == "cached" and needed > free:
        raise OSError(
            f"train_augmentation=cached must fit on the scratch disk: {sizes}; choose fewer train_cached_augmentations, or online"
        )
    if wanted == "auto":
        return needed <= free / 2, f"{sizes}, and auto takes at most half"
    return wanted == "cached", f"train_augmentation={wanted}"
