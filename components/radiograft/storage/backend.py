"""The interface that the storage backends share, their errors, and buffered range reads."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, Protocol, TypeVar, cast

EMBEDDED_BUCKET = "radiograft-embedded"
EMBEDDED_ENDPOINT_VARIABLE = "RADIOGRAFT_EMBEDDED_STORE"
READ_ATTEMPTS = 4
MAX_MEMBER_BYTES = 256_000_000  # more than the largest image that preprocess accepts, with color and alpha
UNKNOWN_SIZE = -1
Answer = TypeVar("Answer")

READ_AHEAD = 2**22  # bytes per request
FetchRange = Callable[[int, int], bytes]


class StorageError(OSError):
    """An object store cannot be used, for example because of a timeout, a missing bucket or a missing permission."""


class ChecksumError(StorageError):
    """Downloaded content does not match the checksum of the object store."""


class TooLargeError(StorageError):
    """A file is larger than any image that can be used."""


class ObjectInfo(NamedTuple):
    """A stored file: name relative to the listed folder, URI, size in bytes, MD5 in hex if the store knows it.

    The size is UNKNOWN_SIZE in a DICOMweb service.
    """

    name: str
    uri: str
    size: int
    md5: str | None


class StorageBackend(Protocol):
    """Serves the URIs of one scheme. Each backend is a module with these functions.

    `radiograft.storage` documents them.
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


def open_ranges(uri: str, size: int, fetch: FetchRange) -> IO[bytes]:
    """Opens an object for reading.

    Args:
        size: of the object in bytes.
        fetch: returns the bytes from the first to the last position, inclusive. Its errors are raised by reads.
    """
    return cast(IO[bytes], io.BufferedReader(_Reader(uri, size, fetch), READ_AHEAD))


class _Reader(io.RawIOBase):
    """Sends one range request per read."""

    def __init__(self, uri: str, size: int, fetch: FetchRange) -> None:
        self.name = uri  # pydicom reads the name of a file
        self.size, self.fetch, self.position = size, fetch, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence] + offset
        return self.position

    def readinto(self, buffer: Any) -> int:
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return self._read(self.size)

    def _read(self, length: int) -> bytes:
        end = min(self.position + length, self.size)
        if end <= self.position:
            return b""
        content = self.fetch(self.position, end - 1)
        self.position = end
        return content
