"""Reads and writes the variables of a network as NumPy arrays, and finds those that training changes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np


def read_variables(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Returns copies of the variables' values, in the same order."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def write_variables(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Assigns values that `read_variables` returned for the same variables.

    Raises:
        ValueError: the numbers of variables and values differ.
    """
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


STATISTICS_MOMENTUM = 0.9  # PyTorch's, with which CheXNet was trained; with Keras's 0.99 few batches change nothing


def trainable_batch_norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Returns the BatchNormalization layers that train."""
    layers = (layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization))
    return [layer for layer in layers if layer.trainable]


def moving_statistics(network: keras.Model) -> list[keras.Variable]:
    """Returns the moving means and variances that training changes: those of `trainable_batch_norms`."""
    layers = trainable_batch_norms(network)
    return [statistic for layer in layers for statistic in (layer.moving_mean, layer.moving_variance)]


@contextlib.contextmanager
def synchronized_statistics(network: keras.Model) -> Iterator[None]:
    """Computes batch statistics over all devices within the context, so that their number does not change a result.

    Otherwise each device would also keep moving statistics of its own.
    """
    layers = trainable_batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.synchronized, layer.momentum = True, STATISTICS_MOMENTUM
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.synchronized, layer.momentum = False, momentum
