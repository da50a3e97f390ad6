"""Reads the tensors of a legacy PyTorch checkpoint without PyTorch and without running code from the file.

The file consists of five pickles (magic number, protocol version, system, state dict, storage keys) and the raw
storages. The pickles are read by an unpickler that supports only tensors.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import reprlib
import sys
from collections import OrderedDict
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001

MAX_OPCODES = 200_000  # a state dict has about 30 per tensor
MAX_TUPLE_ITEMS = 1000  # objects, nested ones included; a tensor's arguments have about 20
SAVE = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
FETCH = ("GET", "BINGET", "LONG_BINGET")
SAME = ("DUP", "MEMOIZE")  # leave their operand on the stack
UNHASHABLE = (pickletools.pylist, pickletools.pydict, pickletools.pyset)  # hashing a tuple never descends into them
MARK = pickletools.markobject


class UnsafeCheckpointError(ValueError):
    """The checkpoint refers to code that tensors do not need. No code was run."""


class _StorageType(NamedTuple):
    """Placeholder for torch.FloatStorage and the other storage types."""

    dtype: str


class _Storage(NamedTuple):
    key: str
    dtype: str
    elements: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _RebuildTensor:
    """Placeholder for torch._utils._rebuild_tensor_v2."""

    # Without attributes, as the tuples above, so that a pickle cannot set one and affect the next file.
    __slots__ = ()

    def __call__(self, storage: object, offset: object, size: object, stride: object, *_: object) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise ValueError(f"a tensor needs a storage, got {type(storage).__name__}")
        [checked_offset] = _naturals((offset,))
        return _Tensor(storage, checked_offset, _naturals(size), _naturals(stride))


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
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ADMITTED:
            raise UnsafeCheckpointError(
                f"refused the global {module}.{name}: a checkpoint must contain only tensors in an OrderedDict; "
                "do not trust this file, or save only the model's state_dict()"
            )
        return _ADMITTED[module, name]

    def persistent_load(self, pid: object) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(elements), None) if elements >= 0:
                storage = _Storage(key, dtype, elements)
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


def _load_pickle(stream: io.BytesIO, content: str) -> tuple[Any, dict[str, _Storage]]:
    """Reads the pickle at the stream's position; returns its value and the storages that it refers to."""
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


def _read_storage(stream: io.BytesIO, storage: _Storage) -> NDArray[Any]:
    name = f"storage {storage.key!r:.40} of {storage.elements} elements"
    count = stream.read(8)
    if int.from_bytes(count, "little", signed=True) != storage.elements or len(count) < 8:
        raise ValueError(f"{name} must start with its 8-byte count, got 0x{count.hex()}; is the file whole?")
    dtype = np.dtype(storage.dtype)
    needed = storage.elements * dtype.itemsize
    raw = stream.read(min(needed, sys.maxsize))  # returns at most the rest of the file, whatever size is declared
    if len(raw) < needed:
        raise ValueError(f"{name} must have {needed} bytes, got only {len(raw)}; is the file whole?")
    return np.frombuffer(raw, dtype)


def _read_storages(stream: io.BytesIO, declared: dict[str, _Storage]) -> dict[str, NDArray[Any]]:
    keys, _ = _load_pickle(stream, "storage keys")
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise ValueError(f"the storage keys must be a list of str, got a {type(keys).__name__}")
    if sorted(keys) != sorted(declared):
        raise ValueError(f"the storage keys must be the tensors' {len(declared)}, got {len(keys)} others")
    return {key: _read_storage(stream, declared[key]) for key in keys}


def _view(name: str, tensor: _Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    step = storage.itemsize
    try:
        strides = [step * stride for stride in tensor.stride]
        view: NDArray[Any] = np.ndarray(tensor.size, storage.dtype, storage, step * tensor.offset, strides)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name!r:.80} reaches beyond its storage: {tensor!r:.200}") from error
    if view.size > storage.size:  # with a stride of 0, a few bytes would become an array of any size
        raise ValueError(f"{name!r:.80} repeats elements of its storage: {tensor!r:.200}")
    return view


def _read_state(stream: io.BytesIO) -> tuple[dict[str, _Tensor], dict[str, _Storage]]:
    """Reads the first four pickles; returns the tensors of the state dict by name, and their storages."""
    if stream.getvalue().startswith(b"PK"):
        raise ValueError(
            "a checkpoint must be in PyTorch's legacy format, got a zip archive; save it with "
            "`_use_new_zipfile_serialization=False`"
        )
    magic_number, _ = _load_pickle(stream, "magic number")
    version, _ = _load_pickle(stream, "protocol version")
    if (magic_number, version) != (_MAGIC_NUMBER, _PROTOCOL_VERSION):
        raise ValueError(f"a checkpoint must have PyTorch's magic number and protocol {_PROTOCOL_VERSION}")
    _load_pickle(stream, "system")  # the storages are little-endian on every system
    state, storages = _load_pickle(stream, "state dict")
    if not isinstance(state, dict):
        raise ValueError(f"a checkpoint must hold a state dict, got a {type(state).__name__}")
    tensors = dict(dict.items(state))  # the pickle may have set an attribute `items`
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and isinstance(tensor, _Tensor)):
            raise ValueError(f"a state dict must map names to tensors, got a {type(tensor).__name__}")
    return tensors, storages


def read_tensors(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Reads the state dict of a checkpoint in PyTorch's legacy format, not the zip format.

    Args:
        path: a file that torch.save wrote before PyTorch 1.6, or later with
            `_use_new_zipfile_serialization=False`.

    Returns:
        The tensors by name, in the file's order, with the shapes and dtypes that they were saved with. The
        arrays are read-only; tensors that shared a storage in PyTorch share memory here.

    Raises:
        UnsafeCheckpointError: a pickle refers to code that tensors do not need. No code was run.
        ValueError: the file has another format or is corrupt, or a tensor exceeds its storage.
    """
    stream = io.BytesIO(Path(path).read_bytes())
    tensors, declared = _read_state(stream)
    storages = _read_storages(stream, declared)
    return {name: _view(name, tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def check_pickle_cost(stream: BinaryIO) -> None:
    """Checks that the pickle at the stream's position is cheap to load, and leaves the stream at its end.

    Raises:
        ValueError: the pickle is corrupt, or it has more than MAX_OPCODES opcodes, a tuple of more than MAX_TUPLE_ITEMS
            objects, or a memo index above its own size, for which memory would be allocated.
    """
    start, highest, simulator = stream.tell(), 0, _StackSimulator()
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream), 1):
        if count > MAX_OPCODES:
            raise ValueError(f"a pickle may have at most {MAX_OPCODES} opcodes")
        if opcode.name in SAVE and isinstance(argument, int):
            highest = max(highest, argument)
        simulator.step(opcode, argument)
    if highest > stream.tell() - start:
        raise ValueError(f"memo index {highest} is larger than the pickle that uses it")


class _StackSimulator:
    """Simulates the unpickler's stack and memo with weights instead of objects.

    The weight of an object is the number of objects in it, itself included.
    """

    def __init__(self) -> None:
        self.stack: list[int] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[Any, int] = {}

    def step(self, opcode: pickletools.OpcodeInfo, argument: Any) -> None:
        if opcode.name in SAVE:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        parts = self._pop_operands(opcode)
        weight = self.memo[argument] if opcode.name in FETCH else sum(parts) + (opcode.name not in SAME)
        if opcode.name.startswith("TUPLE") and weight > MAX_TUPLE_ITEMS:
            raise ValueError(f"a tuple may hold at most {MAX_TUPLE_ITEMS} objects, nested ones included")
        for kind in opcode.stack_after:
            if kind is MARK:
                self.marks.append(len(self.stack))
            else:
                self.stack.append(1 if kind in UNHASHABLE else weight)

    def _pop_operands(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        """Removes the operands of an opcode from the stack and returns their weights."""
        before = opcode.stack_before
        if MARK in before:
            start = self.marks.pop() - before.index(MARK)
        elif opcode.name == "POP" and self.marks and self.marks[-1] == len(self.stack):
            start = self.marks.pop()
        else:
            start = len(self.stack) - len(before)
        if start < (self.marks[-1] if self.marks else 0):
            raise ValueError(f"the opcode {opcode.name} finds too little on the stack")
        parts = self.stack[start:]
        del self.stack[start:]
        return parts
