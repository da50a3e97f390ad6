"""Unpickles PyTorch's state dicts without PyTorch and without running code from the file.

The unpickler supports only tensors, and containers of plain values.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import reprlib
from collections import OrderedDict
from typing import Any, NamedTuple

from radiograft.storage.pickle_cost import check_pickle_cost


class UnsafeCheckpointError(ValueError):
    """The checkpoint refers to code that tensors do not need. No code was run."""


class _StorageType(NamedTuple):
    """Placeholder for torch.FloatStorage and the other storage types."""

    dtype: str


class Storage(NamedTuple):
    """Raw data in the file, to which tensors refer."""

    key: str
    dtype: str
    elements: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides are counted in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _RebuildTensor:
    """Placeholder for torch._utils._rebuild_tensor_v2."""

    # Without attributes, as the tuples above, so that a pickle cannot set one and affect the next file.
    __slots__ = ()

    def __call__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> Tensor:
        if not isinstance(storage, Storage):
            raise ValueError(f"a tensor needs a storage, got {type(storage).__name__}")
        [checked_offset] = _naturals((offset,))
        return Tensor(storage, checked_offset, _naturals(size), _naturals(stride))


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple):
        raise ValueError(f"size and stride of a tensor must be tuples, got {type(values).__name__}")
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise ValueError(f"offset, size and stride must be integers of at least 0, got {reprlib.repr(values)}")
    return values


_ADMITTED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch", "DoubleStorage"): _StorageType("<f8"),
    ("torch", "FloatStorage"): _StorageType("<f4"),
    ("torch", "HalfStorage"): _StorageType("<f2"),
    ("torch", "LongStorage"): _StorageType("<i8"),
    ("torch", "IntStorage"): _StorageType("<i4"),
    ("torch", "ShortStorage"): _StorageType("<i2"),
    ("torch", "CharStorage"): _StorageType("|i1"),
    ("torch", "ByteStorage"): _StorageType("|u1"),
    ("torch", "BoolStorage"): _StorageType("|b1"),
}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ADMITTED:
            raise UnsafeCheckpointError(
                f"refused the global {module}.{name}: a checkpoint must contain only tensors in an OrderedDict; "
                "do not trust this file, or save only the model's state_dict()"
            )
        return _ADMITTED[module, name]

    def persistent_load(self, pid: object) -> Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(elements), *rest) if (
                elements >= 0 and rest in ([], [None])  # the legacy format adds None
            ):
                storage = Storage(key, dtype, elements)
            case _:
                raise ValueError(f"a persistent id must name a whole storage, got {reprlib.repr(pid)}")
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key!r:.40} must have one type and size, got {storage} too")
        return storage


def _check_opcodes(stream: io.BytesIO) -> None:
    """Rejects opcodes that bypass `find_class`."""
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("EXT1", "EXT2", "EXT4"):
            raise UnsafeCheckpointError(f"refused the global of copyreg's extension code {argument}")


def load_pickle(stream: io.BytesIO, content: str) -> tuple[Any, dict[str, Storage]]:
    """Reads the pickle at the stream's position; returns its value and the storages that it refers to.

    Raises:
        UnsafeCheckpointError: the pickle refers to code that tensors do not need. No code was run.
        ValueError: the pickle is corrupt.
    """
    start = stream.tell()
    try:
        _check_opcodes(stream)
        length = stream.tell() - start
        stream.seek(start)
        check_pickle_cost(stream)
        stream.seek(start)
        unpickler = _TensorUnpickler(io.BytesIO(stream.read(length)))
        return unpickler.load(), unpickler.storages
    except UnsafeCheckpointError:
        raise
    except Exception as error:  # unpickling corrupt data may raise any exception, see the documentation
        raise ValueError(f"the pickle of the {content} is corrupt or does not contain tensors: {error}") from error


def state_tensors(state: object) -> dict[str, Tensor]:
    """Returns the tensors of a state dict by name, also of one that is wrapped as `{"state_dict": ...}`.

    Raises:
        ValueError: the object is not a state dict.
    """
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict):
        raise ValueError(f"a checkpoint must hold a state dict, got a {type(state).__name__}")
    tensors = dict(dict.items(state))  # the pickle may have set an attribute `items`
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and isinstance(tensor, Tensor)):
            raise ValueError(f"a state dict must map names to tensors, got a {type(tensor).__name__}")
    return tensors
