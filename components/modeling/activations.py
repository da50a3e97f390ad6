"""Activations at the cut: the prefix runs once for each augmented view; its outputs lie memory-mapped on disk."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from components.modeling.inference import stream_parts
from components.shards import Shards
from components.stage import log

LARGEST_HALF = 65504.0  # float16's largest number


@dataclasses.dataclass(frozen=True)
class Activations:
    """`parts`: one float16 array [views, pictures, ...] a frontier tensor; `truth`: float32 [pictures, labels]."""

    parts: list[np.ndarray]
    truth: np.ndarray

    @property
    def views(self) -> int:
        """How many augmented views of each picture there are."""
        return len(self.parts[0])

    def training(self, batch_size: int, epochs: int, seed: int) -> tf.data.Dataset:
        """Full batches of (activations, labels) for all epochs on end: epoch e shows view e modulo `views`, in an
        order that depends on seed and epoch alone."""
        steps = len(self.truth) // batch_size

        def batches() -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
            for epoch in range(epochs):
                order = np.random.default_rng([seed, epoch]).permutation(len(self.truth))
                for step in range(steps):
                    rows = order[step * batch_size : (step + 1) * batch_size]
                    yield tuple(part[epoch % self.views][rows] for part in self.parts), self.truth[rows]

        return self._dataset(batches, epochs * steps)

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Batches of (activations, labels) of the first view in stored order, the last as small as it comes."""

        def batches() -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
            for start in range(0, len(self.truth), batch_size):
                rows = slice(start, start + batch_size)
                yield tuple(part[0, rows].copy() for part in self.parts), self.truth[rows].copy()

        return self._dataset(batches, -(-len(self.truth) // batch_size))

    def _dataset(
        self, batches: Callable[[], Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]], count: int
    ) -> tf.data.Dataset:
        parts = tuple(tf.TensorSpec([None, *part.shape[2:]], tf.float16) for part in self.parts)
        signature = (parts, tf.TensorSpec([None, self.truth.shape[1]], tf.float32))
        stream = tf.data.Dataset.from_generator(batches, output_signature=signature)
        return stream.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)


def cache(
    prefix: keras.Model,
    data: Shards,
    split: str,
    *,
    views: int,
    batch_size: int,
    seed: int,
    strategy: tf.distribute.Strategy,
    folder: Path,
) -> Activations:
    """Runs the prefix over `views` augmented views of a split; with 0 views over the pictures as they are.

    Raises:
        FloatingPointError: an activation is too large for half precision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = len(data.split(split))
    parts: list[np.ndarray] = [
        np.lib.format.open_memmap(
            folder / f"{split}-{number}.npy", mode="w+", dtype="float16", shape=(max(views, 1), rows, *tensor.shape[1:])
        )
        for number, tensor in enumerate(prefix.outputs)
    ]
    for view in range(max(views, 1)):
        log.debug("%s: view %d of %d through the frozen layers", split, view + 1, max(views, 1))
        pictures = data.views(split, view, batch_size, seed) if views else data.pictures(split, batch_size)
        _store(stream_parts(prefix, pictures, strategy), [part[view] for part in parts])
    return Activations(parts, data.truth(split))


def _store(batches: Iterator[list[np.ndarray]], parts: list[np.ndarray]) -> None:
    start = 0
    for outputs in batches:
        for part, output in zip(parts, outputs, strict=True):
            if not np.abs(output).max(initial=0.0) <= LARGEST_HALF:
                raise FloatingPointError(
                    f"cached activations must stay below {LARGEST_HALF:g}, got {np.abs(output).max()}; "
                    "choose train_augmentation=online"
                )
            part[start : start + len(output)] = output
        start += len(outputs[0])


def bytes_needed(bytes_a_view: int, data: Shards, views: int) -> int:
    """Size of the cache of training (`views` times) and validation (once)."""
    return bytes_a_view * (len(data.split("train")) * views + len(data.split("validation")))


def choose(wanted: str, needed: int, scratch: Path) -> tuple[bool, str]:
    """Whether to cache, and why.

    Raises:
        OSError: `cached` was asked for and the disk is too small.
    """
    free = shutil.disk_usage(scratch).free
    sizes = f"the cache needs {needed / 1e6:,.1f} MB, {scratch} has {free / 1e6:,.1f} MB free"
    if wanted == "cached" and needed > free:
        raise OSError(
            f"train_augmentation=cached must fit on the scratch disk: {sizes}; choose fewer train_views, or online"
        )
    if wanted == "auto":
        return needed <= free / 2, f"{sizes}, and auto takes at most half"
    return wanted == "cached", f"train_augmentation={wanted}"
