"""Unpickles PyTorch's state dicts and modules without PyTorch and without running code from the file.

The unpickler supports only tensors, containers of plain values, and modules, whose classes become inert stand-ins.
"""

from __future__ import annotations

import io
import pickle
import reprlib
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from radiograft.storage.safe_pickle import load_restricted, refuse_global

MODULE_PACKAGES = ("torch.nn.", "torchvision.", "torchxrayvision.")  # their classes become stand-ins
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training programs save a state dict
MAX_MODULES = 20_000  # of one network; also ends a module that contains itself
MAX_NAME_LENGTH = 500  # of a tensor; PyTorch's have about 60


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


class _RebuildParameter:
    """Placeholder for torch._utils._rebuild_parameter."""

    __slots__ = ()

    def __call__(self, tensor: object, *_: object) -> object:
        return tensor


class Module:
    """Stand-in for an object of any class in MODULE_PACKAGES. It does nothing but keep its state."""

    __slots__ = ("state",)

    def __new__(cls, *_: object) -> Module:
        module = super().__new__(cls)
        module.state = {}
        return module

    def __setstate__(self, state: object) -> None:
        self.state: dict[object, object] = state if isinstance(state, dict) else {}


def _naturals(values: object) -> tuple[int, ...]:
    if not isinstance(values, tuple):
        raise ValueError(f"size and stride of a tensor must be tuples, got {type(values).__name__}")
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise ValueError(f"offset, size and stride must be integers of at least 0, got {reprlib.repr(values)}")
    return values


_ADMITTED: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,  # Python 3 writes __builtin__ as builtins in protocol 2
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor"): _RebuildTensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    ("torch._utils", "_rebuild_parameter"): _RebuildParameter(),
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
        self.modules: list[str] = []

    def find_class(self, module: str, name: str) -> object:
        if f"{module}.".startswith(MODULE_PACKAGES):
            self.modules.append(f"{module}.{name}")
            return Module
        if (module, name) not in _ADMITTED:
            raise refuse_global(module, name)
        return _ADMITTED[module, name]

    def persistent_load(self, pid: object) -> object:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(elements), *rest) if (
                elements >= 0 and rest in ([], [None])  # the legacy format adds None
            ):
                storage = Storage(key, dtype, elements)
            case ("module", type() as stand_in, *_):  # the legacy format adds the source code, which is not used
                return stand_in
            case _:
                raise ValueError(f"a persistent id must name a whole storage, got {reprlib.repr(pid)}")
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError(f"storage {key!r:.40} must have one type and size, got {storage} too")
        return storage


class LoadedPickle(NamedTuple):
    """A pickle's value, the storages that its tensors refer to, and the class of its outermost module, or empty."""

    value: object
    storages: dict[str, Storage]
    module: str


def load_pickle(stream: io.BytesIO, content: str) -> LoadedPickle:
    """Reads the pickle at the stream's position.

    Raises:
        UnsafeCheckpointError: the pickle refers to code that tensors do not need. No code was run.
        ValueError: the pickle is corrupt.
    """
    value, unpickler = load_restricted(stream, content, _TensorUnpickler)
    return LoadedPickle(value, unpickler.storages, next(iter(unpickler.modules), ""))


def state_tensors(state: object) -> dict[str, Tensor]:
    """Returns the tensors of a state dict by name, also of one that is wrapped as in WRAPPERS, and of a module.

    Raises:
        ValueError: the object is neither.
    """
    for key in WRAPPERS:
        if isinstance(state, dict) and isinstance(inner := dict.get(state, key), dict | Module):
            state = inner
    if isinstance(state, Module):
        return dict(_module_tensors(state))
    if not isinstance(state, dict):
        raise ValueError(f"a checkpoint must hold a state dict, got a {type(state).__name__}")
    tensors = dict(dict.items(state))  # the pickle may have set an attribute `items`
    for name, tensor in tensors.items():
        if not (isinstance(name, str) and isinstance(tensor, Tensor)):
            raise ValueError(f"a state dict must map names to tensors, got a {type(tensor).__name__}")
    return tensors


def _module_tensors(module: Module) -> Iterator[tuple[str, Tensor]]:
    """Yields the parameters and buffers of a module and of the modules in it, under the names of its state dict."""
    pending, visited = [("", module)], 0
    while pending:
        prefix, part = pending.pop()
        visited += 1
        if visited > MAX_MODULES or len(prefix) > MAX_NAME_LENGTH:
            raise ValueError(
                f"a module must have at most {MAX_MODULES} modules, and names of {MAX_NAME_LENGTH} letters"
            )
        for group in ("_parameters", "_buffers"):
            for name, value in _items(part, group):
                if isinstance(value, Tensor):
                    yield prefix + name, value
        children = [(f"{prefix}{name}.", child) for name, child in _items(part, "_modules")]
        pending += [(name, child) for name, child in reversed(children) if isinstance(child, Module)]


def _items(module: Module, group: str) -> Iterator[tuple[str, object]]:
    values = module.state.get(group)
    for name, value in dict.items(values) if isinstance(values, dict) else ():
        if isinstance(name, str):
            yield name, value
