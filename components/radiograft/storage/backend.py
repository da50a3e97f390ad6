"""What every kind of store is to callers: the functions that each of `local`, `gcs` and `s3` has, and their errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, Protocol, TypeVar

EMBEDDED_BUCKET = "radiograft-embedded"
EMBEDDED_ENDPOINT_VARIABLE = "RADIOGRAFT_EMBEDDED_STORE"
READ_ATTEMPTS = 4
Answer = TypeVar("Answer")


class StorageError(OSError):
    """An object store that cannot be used: no answer, no bucket, no right, damaged content; the message says which."""


class ChecksumError(StorageError):
    """What came is not what the store's checksum says."""


class ObjectInfo(NamedTuple):
    """A stored file: name relative to what was listed, URI, size in bytes, MD5 in hex where the store knows it."""

    name: str
    uri: str
    size: int
    md5: str | None


class StorageBackend(Protocol):
    """A module that serves the URIs of one scheme; `radiograft.storage` and `compare_and_swap` tell what each does."""

    def exists(self, uri: str) -> bool: ...

    def read_bytes(self, uri: str) -> bytes: ...

    def read_with_token(self, uri: str) -> tuple[bytes, str]: ...

    def open_file(self, uri: str) -> IO[bytes]: ...

    def write_bytes(self, uri: str, data: bytes, only_if_absent: bool) -> None: ...

    def swap(self, uri: str, content: bytes, token: str | None) -> None: ...

    def delete(self, uri: str) -> None: ...

    def list_files(self, uri: str) -> Iterator[ObjectInfo]: ...


def read_verified(read: Callable[[], Answer]) -> Answer:
    """Reads again what came damaged, for it may be whole in the store; READ_ATTEMPTS times and without a pause."""
    for _ in range(READ_ATTEMPTS - 1):
        with contextlib.suppress(ChecksumError):
            return read()
    return read()


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and object's name.

    Raises:
        ValueError: there is no bucket in it.
    """
    scheme, _, path = uri.partition("://")
    bucket, _, name = path.partition("/")
    if not bucket:
        raise ValueError(f"a {scheme}:// URI must name a bucket, got {uri!r}")
    return bucket, name


def missing_error(uri: str) -> FileNotFoundError:
    """The error for an object that is not there."""
    return FileNotFoundError(f"no such object: {uri}")


def changed_error(uri: str) -> FileExistsError:
    """The error for a swap that came too late."""
    return FileExistsError(f"{uri} changed since it was read")
