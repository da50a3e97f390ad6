"""Runs a network on a dataset, batch by batch on all devices. Each image is processed once, in order."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

MAX_FLOAT16 = 65504.0  # largest finite float16


class Predictor:
    """A network in inference mode. Its graph is traced once for all datasets with the same element spec.

    Attributes:
        model: the network, which must have been built in the scope of the strategy.
    """

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
        self.model, self._strategy = model, strategy
        self._forward = tf.function(self._on_all_devices)
        with strategy.scope():
            self._fused = fuse_batch_norm(model)

    def iter_outputs(self, batches: tf.data.Dataset) -> Iterator[np.ndarray]:
        """Yields the only output of the model for each batch; see `iter_batches`."""
        return (output for (output,) in self.iter_batches(batches))

    def predict(self, batches: tf.data.Dataset) -> np.ndarray:
        """Returns the only output of the model for all images, which must fit into memory; see `iter_batches`."""
        return np.concatenate(list(self.iter_outputs(batches)))

    def iter_batches(self, batches: tf.data.Dataset) -> Iterator[list[np.ndarray]]:
        """Yields all outputs of the model for each batch, in the order of the images.

        Args:
            batches: inputs of the model: tensors or nested structures of tensors [n, ...], such as uint8
                [n, size, size, channels]. Batches of any size are distributed over the devices. Further inputs at the
                end may be left out: they are zeros, which stand for missing values.
        """
        # The element spec leaves the batch size open, so a smaller last batch does not retrace the graph.
        forward = self._forward.get_concrete_function(batches.element_spec)
        for batch in batches:
            yield [output.numpy() for output in forward(batch)]

    def _on_all_devices(self, batch: Any) -> list[tf.Tensor]:
        count = tf.shape(tf.nest.flatten(batch)[0])[0]
        share = -(-count // self._strategy.num_replicas_in_sync)

        def on_one_device() -> list[tf.Tensor]:
            device = tf.distribute.get_replica_context().replica_id_in_sync_group
            with tf.device("/cpu:0"):  # so that each GPU receives its own share only
                # Repeats of the last row pad the batch to a multiple of the devices; they are removed below.
                rows = tf.minimum(device * share + tf.range(share), count - 1)
                part = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), batch)
            return list(tf.nest.flatten(self._fused(self._with_missing(part, share), training=False)))

        outputs = self._strategy.run(on_one_device)
        return [tf.concat(self._strategy.experimental_local_results(output), axis=0)[:count] for output in outputs]

    def _with_missing(self, part: Any, rows: tf.Tensor) -> Any:
        """Appends zeros for the further inputs that a batch lacks."""
        given = tf.nest.flatten(part)
        missing = self.model.inputs[len(given) :]
        zeros = [tf.zeros([rows, *tensor.shape[1:]], tensor.dtype) for tensor in missing]
        return (*given, *zeros) if missing else part


def stream_to_file(outputs: Iterator[np.ndarray], rows: int, path: Path) -> np.ndarray:
    """Writes batches [n, width] to a float16 .npy file and returns it memory-mapped and read-only.

    Raises:
        ValueError: the batches do not have exactly `rows` rows in total.
        FloatingPointError: a number is not finite or exceeds the range of float16.
        OSError: the file does not fit on the disk.
    """
    written, file = 0, None
    for batch in outputs:
        if file is None:
            file = create_memmap(path, (rows, batch.shape[1]))
        if written + len(batch) > rows:
            break
        largest = np.abs(batch).max(initial=0.0)
        if not largest <= MAX_FLOAT16:
            raise FloatingPointError(f"{path.name} must hold numbers below {MAX_FLOAT16:g}, got {largest:g}")
        file[written : written + len(batch)] = batch
        written += len(batch)
    if file is None or written != rows:
        raise ValueError(f"{path.name} must hold {rows} rows, got {written} before the stream ended or overflowed")
    file.flush()
    stored: np.ndarray = np.load(path, mmap_mode="r")
    return stored


class FusedBatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """A BatchNormalization of [n, height, width, channels] in inference mode that uses the weights of `original`."""

    def __init__(self, original: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=original.dtype_policy, name=original.name)
        self.original = original

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        """Returns the normalized inputs, with the same shape and dtype."""
        layer = self.original
        weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        scale, offset, mean, variance = (ops.cast(weight, "float32") for weight in weights)
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=layer.epsilon,
            is_training=False,
        ).y


def fuse_batch_norm(model: keras.Model) -> keras.Model:
    """Returns a network equivalent to a functional model in inference mode, which shares its layers and weights."""
    bare = keras.Model(model.input, model.output)  # without the optimizer, which would be cloned too
    return keras.models.clone_model(
        bare, clone_function=lambda layer: FusedBatchNormalization(layer) if _can_be_fused(layer) else layer
    )


def _can_be_fused(layer: keras.Layer) -> bool:
    """Returns whether the kernel supports this layer: images with channels last, scaled and centered."""
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and layer.compute_dtype in ("float32", "float16", "bfloat16")
    )


def create_memmap(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """Creates a writable memory-mapped float16 .npy file filled with zeros.

    Disk space is allocated up front. Otherwise pages would be allocated on first write, and if the disk is full then,
    the kernel kills the process (SIGBUS) without a message.

    Raises:
        OSError: the disk has too little space.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype="float16", shape=shape)
    size = path.stat().st_size
    if sys.platform == "linux":
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror} ({size:,} bytes are needed)", str(path)) from None
    return array
