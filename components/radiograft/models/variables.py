"""A network's variables as plain arrays: read to be kept, written to be put back."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np


def read_variables(variables: Sequence[keras.Variable]) -> list[np.ndarray]:
    """Copies of the variables' values, in their order."""
    return [keras.ops.convert_to_numpy(variable) for variable in variables]


def write_variables(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    """Assigns values that `read` gave for the same variables.

    Raises:
        ValueError: there are more of one than of the other.
    """
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
