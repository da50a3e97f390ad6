"""The interface that the storage backends `local`, `gcs` and `s3` share, and their errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, Protocol, TypeVar

EMBEDDED_BUCKET = "radiograft-embedded"
EMBEDDED_ENDPOINT_VARIABLE = "RADIOGRAFT_EMBEDDED_STORE"
READ_ATTEMPTS = 4
Answer = TypeVar("Answer")


class StorageError(OSError):
    """An object store cannot be used, for example because of a timeout, a missing bucket or a missing permission."""


class ChecksumError(StorageError):
    """Downloaded content does not match the checksum of the object store."""


class ObjectInfo(NamedTuple):
    """A stored file: name relative to the listed folder, URI, size in bytes, MD5 in hex if the store knows it."""

    name: str
    uri: str
    size: int
    md5: str | None


class StorageBackend(Protocol):
    """Serves the URIs of one scheme. Each backend is a module with these functions.

    `radiograft.storage` and `radiograft.storage.conditional_write` document them.
    """

    def exists(self, uri: str) -> bool: ...

    def read_bytes(self, uri: str) -> bytes: ...

    def read_with_token(self, uri: str) -> tuple[bytes, str]: ...

    def open_file(self, uri: str) -> IO[bytes]: ...

    def write_bytes(self, uri: str, data: bytes, only_if_absent: bool) -> None: ...

    def swap(self, uri: str, content: bytes, token: str | None) -> None: ...

    def delete(self, uri: str) -> None: ...

    def list_files(self, uri: str) -> Iterator[ObjectInfo]: ...


def read_verified(read: Callable[[], Answer]) -> Answer:
    """Repeats a read that fails its checksum, up to READ_ATTEMPTS times: the stored content may be intact."""
    for _ in range(READ_ATTEMPTS - 1):
        with contextlib.suppress(ChecksumError):
            return read()
    return read()


def split_uri(uri: str) -> tuple[str, str]:
    """Splits a URI into bucket and object name.

    Example:
        >>> split_uri("gs://bucket/data/1.png")
        ('bucket', 'data/1.png')

    Raises:
        ValueError: the URI has no bucket.
    """
    scheme, _, path = uri.partition("://")
    bucket, _, name = path.partition("/")
    if not bucket:
        raise ValueError(f"a {scheme}:// URI must name a bucket, got {uri!r}")
    return bucket, name


def missing_error(uri: str) -> FileNotFoundError:
    """Returns the error for an object that does not exist."""
    return FileNotFoundError(f"no such object: {uri}")


def changed_error(uri: str) -> FileExistsError:
    """Returns the error for a conditional write whose token is outdated."""
    return FileExistsError(f"{uri} changed since it was read")
