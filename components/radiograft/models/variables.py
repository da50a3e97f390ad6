"""Reads and writes the variables of a network as NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence

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
