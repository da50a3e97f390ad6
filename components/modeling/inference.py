"""Streams a data set through a network on all devices: every picture once, in order, never all at once in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf


def stream(model: keras.Model, batches: tf.data.Dataset, strategy: tf.distribute.Strategy) -> Iterator[np.ndarray]:
    """The only output of a model batch by batch, float32, in the order of the pictures; see `stream_parts`."""
    return (part for (part,) in stream_parts(model, batches, strategy))


def stream_parts(
    model: keras.Model, batches: tf.data.Dataset, strategy: tf.distribute.Strategy
) -> Iterator[list[np.ndarray]]:
    """All outputs of the model batch by batch, in the order of the pictures.

    Args:
        batches: uint8 [<= batch, size, size, 1]; a last small batch is filled up for the devices and cut off again.
    """
    replicas = strategy.num_replicas_in_sync

    @tf.function(reduce_retracing=True)
    def forward(parts: tf.distribute.DistributedValues) -> list[tf.Tensor]:
        outputs = strategy.run(lambda part: tf.nest.flatten(model(part, training=False)), args=(parts,))
        return [tf.concat(strategy.experimental_local_results(output), axis=0) for output in outputs]

    largest = 0
    for pictures in batches:
        count = int(pictures.shape[0])
        largest = max(largest, -(-count // replicas) * replicas)
        parts = tf.split(tf.pad(pictures, [[0, largest - count], [0, 0], [0, 0], [0, 0]]), replicas)
        spread = strategy.experimental_distribute_values_from_function(
            lambda context, parts=parts: parts[context.replica_id_in_sync_group]
        )
        yield [output.numpy()[:count] for output in forward(spread)]


def stream_to_file(outputs: Iterator[np.ndarray], rows: int, path: Path) -> np.ndarray:
    """Writes batches [n, width] one after another to a memory-mapped float16 .npy file and returns it read-only.

    Raises:
        ValueError: not exactly `rows` rows came.
        FloatingPointError: a number is not finite in half precision.
    """
    written, file = 0, None
    for batch in outputs:
        if file is None:
            file = np.lib.format.open_memmap(path, mode="w+", dtype="float16", shape=(rows, batch.shape[1]))
        if written + len(batch) > rows:
            break
        file[written : written + len(batch)] = batch
        if not np.isfinite(file[written : written + len(batch)]).all():
            raise FloatingPointError(f"{path.name} must hold numbers below 65504, got {np.abs(batch).max():g}")
        written += len(batch)
    if file is None or written != rows:
        raise ValueError(f"{path.name} must hold {rows} rows, got {written} before the stream ended or overflowed")
    file.flush()
    stored: np.ndarray = np.load(path, mmap_mode="r")
    return stored
