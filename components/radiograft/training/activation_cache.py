"""Caches the activations at a cut-off.

The frozen prefix of the network runs once for each augmented copy of an image. Its outputs are stored on disk in half
precision and memory-mapped, so fine-tuning only runs the trainable suffix.
"""

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
from radiograft.models import predictor
from radiograft.models.predictor import MAX_FLOAT16, Predictor

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class CachedActivations:
    """Outputs of the frozen prefix for every augmented copy of the images of one split.

    Attributes:
        parts: one array for each output of the prefix, float16 [copies, images, ...].
        truth: labels, float32 [images, labels], NaN where unknown.
        image_ids: IDs of the images, in the same order.
        further: the network's further inputs, which the prefix does not read, each float32 [images, ...].
    """

    parts: list[np.ndarray]
    truth: np.ndarray
    image_ids: list[str]
    further: Sequence[np.ndarray] = ()

    @property
    def copies(self) -> int:
        """Number of cached copies of each image."""
        return len(self.parts[0])

    def training(self, batch_size: int, epochs: range, seed: int) -> tf.data.Dataset:
        """Returns shuffled, full batches of (activations and further inputs, labels) for consecutive epochs.

        Epoch e reads copy e modulo `copies`. The order of the images depends only on the seed and the epoch.
        """
        steps = len(self.truth) // batch_size

        def generate() -> Iterator[tuple[Any, np.ndarray]]:
            for epoch, step in itertools.product(epochs, range(steps)):
                rows = self._batch_rows(batch_size, epoch, step, seed)
                parts = [part[epoch % self.copies][rows] for part in self.parts]
                yield _unpack_single([*parts, *(values[rows] for values in self.further)]), self.truth[rows]

        signature = (self._signature(self.further), tf.TensorSpec([None, self.truth.shape[1]], tf.float32))
        return _dataset(generate, signature, len(epochs) * steps)

    def training_ids(self, batch_size: int, epoch: int, step: int, seed: int) -> list[str]:
        """Returns the IDs of the images in one batch of `training`; epoch and step are counted from 0."""
        return [self.image_ids[row] for row in self._batch_rows(batch_size, epoch, step, seed)]

    def in_order(self, batch_size: int) -> tf.data.Dataset:
        """Returns batches of the first copy's activations and the further inputs in stored order, see `frontier`."""
        return self._in_order(batch_size, 0, self.further)

    def frontier(self, batch_size: int, copy: int) -> tf.data.Dataset:
        """Returns batches of one copy's activations in stored order; the last batch may be smaller."""
        return self._in_order(batch_size, copy, ())

    def _in_order(self, batch_size: int, copy: int, further: Sequence[np.ndarray]) -> tf.data.Dataset:
        def generate() -> Iterator[Any]:
            for start in range(0, len(self.truth), batch_size):
                # TensorFlow does not copy arrays, and with two replicas on one CPU it would write into these slices.
                arrays = [*(part[copy] for part in self.parts), *further]
                yield _unpack_single([array[start : start + batch_size].copy() for array in arrays])

        return _dataset(generate, self._signature(further), -(-len(self.truth) // batch_size))

    def discard(self) -> None:
        """Deletes the files and releases the arrays, which frees the disk space. Do not use the object afterwards."""
        for part in self.parts:
            if isinstance(part, np.memmap) and part.filename:
                Path(part.filename).unlink()
        self.parts.clear()

    def _batch_rows(self, batch_size: int, epoch: int, step: int, seed: int) -> np.ndarray:
        order = _shuffled_rows(seed, epoch, len(self.truth))
        return order[step * batch_size : (step + 1) * batch_size]

    def _signature(self, further: Sequence[np.ndarray]) -> Any:
        parts = [tf.TensorSpec([None, *part.shape[2:]], tf.float16) for part in self.parts]
        return _unpack_single([*parts, *(tf.TensorSpec([None, *values.shape[1:]], tf.float32) for values in further)])


def _unpack_single(parts: list[Any]) -> Any:
    """Returns the only item, or several items as a tuple: the form in which Keras takes a network's inputs."""
    return tuple(parts) if len(parts) > 1 else parts[0]


@functools.lru_cache(maxsize=2)
def _shuffled_rows(seed: int, epoch: int, images: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(images)


def _dataset(generate: Callable[[], Iterator[Any]], signature: Any, count: int) -> tf.data.Dataset:
    """Returns a dataset with a known length of `count` batches."""
    stream = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return stream.apply(tf.data.experimental.assert_cardinality(count)).prefetch(tf.data.AUTOTUNE)


def cache_activations(
    prefix: Predictor,
    data: Shards,
    split: str,
    *,
    copies: int,
    batch_size: int,
    seed: int,
    folder: Path,
    companions: Callable[[int], np.ndarray] | None = None,
) -> CachedActivations:
    """Runs the prefix on the images of a split and stores its outputs in `folder`.

    Args:
        prefix: the frozen layers; see `radiograft.models.graph_split.SplitModel`.
        data: the images.
        split: name of the split.
        copies: number of augmented copies of each image; 0 stores the images without augmentation, as a single copy.
        batch_size: images in a batch.
        seed: seed of the augmentation.
        folder: where the files are created.
        companions: returns the second input of the prefix for a copy: an array [images, ...] in stored order.

    Raises:
        FloatingPointError: an activation is too large for half precision.
    """
    parts = _create_files(prefix, folder, split, max(copies, 1), len(data.split(split)))
    for copy in range(max(copies, 1)):
        log.debug("%s: copy %d of %d through the frozen layers", split, copy + 1, max(copies, 1))
        images = data.copies(split, copy, batch_size, seed) if copies else data.images(split, batch_size)
        if companions:
            second = tf.data.Dataset.from_tensor_slices(companions(copy)).batch(batch_size)
            images = tf.data.Dataset.zip((images, second))
        _write_batches(prefix.iter_batches(images), [part[copy] for part in parts])
    ids = list(data.split(split)["image_id"])
    return CachedActivations(parts, data.split_targets(split), ids, data.further_of(split))


def extend_activations(
    activations: CachedActivations, bridge: Predictor, split: str, *, batch_size: int, folder: Path
) -> CachedActivations:
    """Computes the activations at a deeper cut-off from those at a shallower one.

    The shallower activations stay on disk until their `discard` is called.

    Args:
        activations: activations at the shallower cut-off.
        bridge: the layers between the cut-offs with their frozen weights; see
            `radiograft.models.graph_split.bridge_model`.
        split: name of the split.
        batch_size: images in a batch.
        folder: where the files are created; must not be the folder of `activations`.

    Raises:
        FloatingPointError: an activation is too large for half precision.
    """
    parts = _create_files(bridge, folder, split, activations.copies, len(activations.truth))
    for copy in range(activations.copies):
        log.debug("%s: copy %d of %d on to the next cut-off", split, copy + 1, activations.copies)
        _write_batches(bridge.iter_batches(activations.frontier(batch_size, copy)), [part[copy] for part in parts])
    return dataclasses.replace(activations, parts=parts)


def _create_files(network: Predictor, folder: Path, split: str, copies: int, images: int) -> list[np.ndarray]:
    """Creates an empty memory-mapped file for each output of the network."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        predictor.create_memmap(folder / f"{split}-{number}.npy", (copies, images, *tensor.shape[1:]))
        for number, tensor in enumerate(network.model.outputs)
    ]


def _write_batches(batches: Iterator[list[np.ndarray]], parts: list[np.ndarray]) -> None:
    """Writes consecutive batches to the rows of the arrays, one array for each output of the network."""
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


def bytes_needed(bytes_per_copy: int, data: Shards, copies: int) -> int:
    """Returns the size of the cache: `copies` copies of each training image and one of each validation image."""
    return bytes_per_copy * (len(data.split("train")) * copies + len(data.split("validation")))


def peak_bytes(bytes_per_copy: Sequence[int]) -> int:
    """Returns how many bytes per copy are on disk at most, given the bytes per copy at each cut-off.

    While the cache of a cut-off is computed from the previous one, both are on disk.

    Example:
        >>> peak_bytes([10, 30, 20])
        50
    """
    return max(map(sum, itertools.pairwise(bytes_per_copy)), default=sum(bytes_per_copy))


def should_cache(augmentation: str, needed: int, scratch: Path) -> tuple[bool, str]:
    """Decides whether to cache activations and gives the reason.

    Args:
        augmentation: the setting `train_augmentation`: `auto`, `cached` or `online`.
        needed: size of the cache in bytes.
        scratch: folder on the disk of the cache.

    Raises:
        OSError: the setting is `cached` and the cache does not fit on the disk.
    """
    free = shutil.disk_usage(scratch).free
    sizes = f"the cache needs {needed / 1e6:,.1f} MB, {scratch} has {free / 1e6:,.1f} MB free"
    if augmentation == "cached" and needed > free:
        raise OSError(
            f"train_augmentation=cached must fit on the scratch disk: {sizes}; "
            "choose fewer train_cached_augmentations, or online"
        )
    if augmentation == "auto":
        return needed <= free / 2, f"{sizes}, and auto takes at most half"
    return augmentation == "cached", f"train_augmentation={augmentation}"


def check_space(needed: int, scratch: Path, setting: str) -> None:
    """Checks that a cache without an alternative fits on the disk.

    Args:
        needed: size of the cache in bytes.
        scratch: folder on the disk of the cache.
        setting: the setting that requires the cache.

    Raises:
        OSError: the cache does not fit.
    """
    free = shutil.disk_usage(scratch).free
    if needed > free:
        raise OSError(
            f"{setting} must fit on the scratch disk: the cache needs {needed / 1e6:,.1f} MB, {scratch} has "
            f"{free / 1e6:,.1f} MB free; choose fewer train_cached_augmentations or a later model_cut_off"
        )
