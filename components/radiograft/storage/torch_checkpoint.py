"""Reads the tensors of a PyTorch checkpoint without PyTorch and without running code from the file."""

from __future__ import annotations

import io
import sys
import zipfile
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radiograft.storage.safe_pickle import UnsafeCheckpointError
from radiograft.storage.torch_pickle import Storage, Tensor, load_pickle, state_tensors
from radiograft.storage.zip_members import ZIP_START, open_members, read_member

__all__ = ["LEGACY_START", "Checkpoint", "UnsafeCheckpointError", "read_checkpoint", "read_tensors"]

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + _MAGIC_NUMBER.to_bytes(10, "little")  # the pickle of the magic number


class Checkpoint(NamedTuple):
    """The tensors of a checkpoint by name, and the class of the module that was saved, or empty for a state dict."""

    tensors: dict[str, NDArray[Any]]
    module: str


def _read_storage(stream: io.BytesIO, storage: Storage) -> NDArray[Any]:
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


def _read_storages(stream: io.BytesIO, declared: dict[str, Storage]) -> dict[str, NDArray[Any]]:
    keys = load_pickle(stream, "storage keys").value
    if not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        raise ValueError(f"the storage keys must be a list of str, got a {type(keys).__name__}")
    if sorted(keys) != sorted(declared):
        raise ValueError(f"the storage keys must be the tensors' {len(declared)}, got {len(keys)} others")
    return {key: _read_storage(stream, declared[key]) for key in keys}


def _view(name: str, tensor: Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    step = storage.itemsize
    try:
        strides = [step * stride for stride in tensor.stride]
        view: NDArray[Any] = np.ndarray(tensor.size, storage.dtype, storage, step * tensor.offset, strides)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name!r:.80} reaches beyond its storage: {tensor!r:.200}") from error
    if view.size > storage.size:  # with a stride of 0, a few bytes would become an array of any size
        raise ValueError(f"{name!r:.80} repeats elements of its storage: {tensor!r:.200}")
    return view


def _read_legacy(stream: io.BytesIO) -> Checkpoint:
    """Reads five pickles (magic number, protocol version, system, state dict, storage keys) and the raw storages."""
    magic_number = load_pickle(stream, "magic number").value
    version = load_pickle(stream, "protocol version").value
    if (magic_number, version) != (_MAGIC_NUMBER, _PROTOCOL_VERSION):
        raise ValueError(f"a checkpoint must have PyTorch's magic number and protocol {_PROTOCOL_VERSION}")
    load_pickle(stream, "system")  # the storages are little-endian on every system
    state = load_pickle(stream, "state dict")
    tensors = state_tensors(state.value)
    return Checkpoint(_views(tensors, _read_storages(stream, state.storages)), state.module)


def _read_zip(stream: io.BytesIO) -> Checkpoint:
    """Reads the members data.pkl, the state dict, and data/KEY, the raw storages."""
    zipped = open_members(stream)
    root = _root_folder(zipped)
    _check_byte_order(zipped, root)
    state = load_pickle(io.BytesIO(read_member(zipped, f"{root}data.pkl")), "state dict")
    tensors = state_tensors(state.value)
    storages = {
        key: _as_array(storage, read_member(zipped, f"{root}data/{key}")) for key, storage in state.storages.items()
    }
    return Checkpoint(_views(tensors, storages), state.module)


def _views(tensors: dict[str, Tensor], storages: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name: _view(name, tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}


def _root_folder(zipped: zipfile.ZipFile) -> str:
    roots = [name.removesuffix("data.pkl") for name in zipped.namelist() if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(f"a checkpoint must have one data.pkl in a folder, got {len(roots)}")
    return roots[0]


def _check_byte_order(zipped: zipfile.ZipFile, root: str) -> None:
    if f"{root}byteorder" in zipped.namelist() and read_member(zipped, f"{root}byteorder") != b"little":
        raise ValueError("a checkpoint must be little-endian; save it on a little-endian machine")


def _as_array(storage: Storage, content: bytes) -> NDArray[Any]:
    dtype = np.dtype(storage.dtype)
    if len(content) != storage.elements * dtype.itemsize:
        raise ValueError(
            f"storage {storage.key!r:.40} must have {storage.elements} elements of {dtype.itemsize} bytes, "
            f"got {len(content)} bytes"
        )
    return np.frombuffer(content, dtype)


def read_checkpoint(path: str | PathLike[str]) -> Checkpoint:
    """Reads a PyTorch checkpoint: a state dict, also one in a dictionary as `{"state_dict": ...}`, or a whole module.

    Args:
        path: a file that torch.save wrote, in the zip format or in the legacy format from before PyTorch 1.6.

    Returns:
        The tensors by name, in the file's order, with the shapes and dtypes that they were saved with. The
        arrays are read-only; tensors that shared a storage in PyTorch share memory here.

    Raises:
        UnsafeCheckpointError: a pickle refers to code that tensors do not need. No code was run.
        ValueError: the file has another format or is corrupt, or a tensor exceeds its storage.
    """
    stream = io.BytesIO(Path(path).read_bytes())
    return _read_zip(stream) if stream.getvalue().startswith(ZIP_START) else _read_legacy(stream)


def read_tensors(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Returns the tensors of `read_checkpoint`."""
    return read_checkpoint(path).tensors
