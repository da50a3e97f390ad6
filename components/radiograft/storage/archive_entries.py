"""Reads the files of .tar.gz and .zip archives in stored order."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, NamedTuple, cast

from radiograft import storage

MAX_MEMBERS = 2**20
MAX_HEADER_BYTES = 2**20  # between the contents of two members, such as long names; tarfile keeps them in memory
CHUNK_SIZE = 2**20
TAR_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)
# zipfile raises RuntimeError for a password and NotImplementedError, a RuntimeError, for an unknown compression.
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeDecodeError)


class Entry(NamedTuple):
    """A file in an archive: its position among all members, path, size in bytes, and a function that reads it."""

    number: int
    name: str
    size: int
    read: Callable[[], bytes]


@contextlib.contextmanager
def open_zip(uri: str) -> Iterator[Iterator[Entry]]:
    """Yields the files of a .zip archive in stored order.

    Raises:
        FileNotFoundError: the archive does not exist.
        ValueError: the archive is truncated, corrupt or encrypted. The message does not quote zipfile, which names
            members.
    """
    with storage.open_file(uri) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield _iter_zip(archive)
        except ZIP_ERRORS as error:
            raise ValueError(
                f"{uri} must be a complete .zip archive without a password, got a corrupt or encrypted one; "
                "download it again"
            ) from error


def _iter_zip(archive: zipfile.ZipFile) -> Iterator[Entry]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or any(member.header_offset < 0 for member in members):  # zipfile would seek to it
        raise zipfile.BadZipFile
    for number, member in enumerate(members):
        if not member.is_dir():
            yield Entry(number, member.filename, member.file_size, partial(archive.read, member))


@contextlib.contextmanager
def open_tar(uri: str) -> Iterator[Iterator[Entry]]:
    """Yields the files of a .tar.gz archive in stored order; each must be read before the next one is taken.

    Raises:
        FileNotFoundError: the archive does not exist.
        ValueError: the archive is truncated or corrupt.
    """
    with storage.open_file(uri) as file:
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield _iter_tar(stream)
        except TAR_ERRORS as error:
            raise ValueError(
                f"{uri} must be a complete .tar.gz archive, got a corrupt one: {error}; download it again"
            ) from error


class _LimitedReader:
    """A stream that limits the bytes between two members, because tarfile keeps all of them in memory."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream, self.position, self.limit = stream, 0, MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.position += len(data)
        if self.position > self.limit:
            raise tarfile.ReadError(f"more than {MAX_HEADER_BYTES:,} bytes between two members")
        return data


def _iter_tar(stream: gzip.GzipFile) -> Iterator[Entry]:
    """Yields the files of an archive; at its end, the checksum is verified."""
    limited = _LimitedReader(stream)
    with tarfile.open(fileobj=cast(IO[bytes], limited), mode="r|") as archive:
        for number in range(MAX_MEMBERS + 1):
            member = archive.next()
            if member is None:
                break
            archive.members = []  # type: ignore[attr-defined]  # missing in typeshed
            archive.pax_headers = {}
            limited.limit = archive.offset + MAX_HEADER_BYTES
            if member.isfile():
                yield Entry(number, member.name, member.size, partial(_read_member, archive, member))
        else:
            raise tarfile.ReadError(f"more than {MAX_MEMBERS:,} members")
    while stream.read(CHUNK_SIZE):  # tarfile mistakes a corrupt header for the end
        pass


def _read_member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""
