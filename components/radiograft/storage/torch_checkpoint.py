"""Reads the tensors of a PyTorch checkpoint without PyTorch and without running code from the file."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radiograft.storage.torch_pickle import Storage, Tensor, UnsafeCheckpointError, load_pickle, state_tensors

__all__ = ["UnsafeCheckpointError", "is_torch_checkpoint", "read_tensors"]

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PROTOCOL_VERSION = 1001
_LEGACY_START = b"\x80\x02\x8a\x0a" + _MAGIC_NUMBER.to_bytes(10, "little")  # the pickle of the magic number
# zipfile raises RuntimeError for unsupported features, and ValueError for invalid names and positions.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, struct.error, ValueError)


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
    keys, _ = load_pickle(stream, "storage keys")
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


def _read_legacy(stream: io.BytesIO) -> tuple[dict[str, Tensor], dict[str, NDArray[Any]]]:
    """Reads five pickles (magic number, protocol version, system, state dict, storage keys) and the raw storages."""
    magic_number, _ = load_pickle(stream, "magic number")
    version, _ = load_pickle(stream, "protocol version")
    if (magic_number, version) != (_MAGIC_NUMBER, _PROTOCOL_VERSION):
        raise ValueError(f"a checkpoint must have PyTorch's magic number and protocol {_PROTOCOL_VERSION}")
    load_pickle(stream, "system")  # the storages are little-endian on every system
    state, declared = load_pickle(stream, "state dict")
    tensors = state_tensors(state)
    return tensors, _read_storages(stream, declared)


def _read_zip(stream: io.BytesIO) -> tuple[dict[str, Tensor], dict[str, NDArray[Any]]]:
    """Reads the members data.pkl, the state dict, and data/KEY, the raw storages."""
    with _zip_errors():
        zipped = zipfile.ZipFile(stream)
    _check_sizes(zipped, len(stream.getvalue()))
    root = _root_folder(zipped)
    _check_byte_order(zipped, root)
    state, declared = load_pickle(io.BytesIO(_read_member(zipped, f"{root}data.pkl")), "state dict")
    tensors = state_tensors(state)
    return tensors, {
        key: _as_array(storage, _read_member(zipped, f"{root}data/{key}")) for key, storage in declared.items()
    }


@contextlib.contextmanager
def _zip_errors() -> Iterator[None]:
    try:
        yield
    except _ZIP_ERRORS as error:
        raise ValueError(f"the zip archive of the checkpoint is corrupt: {error}") from error


def _check_sizes(zipped: zipfile.ZipFile, file_size: int) -> None:
    total = sum(member.compress_size for member in zipped.infolist())
    if total > file_size:  # many members could share the same bytes and become arrays of any size
        raise ValueError(f"the members of a checkpoint must not overlap, got {total} bytes in a file of {file_size}")


def _root_folder(zipped: zipfile.ZipFile) -> str:
    roots = [name.removesuffix("data.pkl") for name in zipped.namelist() if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise ValueError(f"a checkpoint must have one data.pkl in a folder, got {len(roots)}")
    return roots[0]


def _check_byte_order(zipped: zipfile.ZipFile, root: str) -> None:
    if f"{root}byteorder" in zipped.namelist() and _read_member(zipped, f"{root}byteorder") != b"little":
        raise ValueError("a checkpoint must be little-endian; save it on a little-endian machine")


def _read_member(zipped: zipfile.ZipFile, name: str) -> bytes:
    try:
        member = zipped.getinfo(name)
    except KeyError as error:
        raise ValueError(f"a checkpoint must have the member {name!r:.80}; is the file whole?") from error
    if member.compress_type != zipfile.ZIP_STORED:  # PyTorch never compresses, and a small file could grow to any size
        raise ValueError(f"the member {name!r:.80} must not be compressed; save the checkpoint with PyTorch")
    with _zip_errors():
        return zipped.read(member)


def _as_array(storage: Storage, content: bytes) -> NDArray[Any]:
    dtype = np.dtype(storage.dtype)
    if len(content) != storage.elements * dtype.itemsize:
        raise ValueError(
            f"storage {storage.key!r:.40} must have {storage.elements} elements of {dtype.itemsize} bytes, "
            f"got {len(content)} bytes"
        )
    return np.frombuffer(content, dtype)


def is_torch_checkpoint(path: str | PathLike[str]) -> bool:
    """Returns whether a file has the format of a PyTorch checkpoint, by its content; it may still be corrupt."""
    with Path(path).open("rb") as file:
        start = file.read(len(_LEGACY_START))
    if start == _LEGACY_START:
        return True
    if not start.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as zipped:
            return any(name.endswith("/data.pkl") for name in zipped.namelist())
    except _ZIP_ERRORS:
        return False


def read_tensors(path: str | PathLike[str]) -> dict[str, NDArray[Any]]:
    """Reads the state dict of a PyTorch checkpoint, also of one that is wrapped as `{"state_dict": ...}`.

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
    is_zip = stream.getvalue().startswith(b"PK")
    tensors, storages = _read_zip(stream) if is_zip else _read_legacy(stream)
    return {name: _view(name, tensor, storages[tensor.storage.key]) for name, tensor in tensors.items()}
