"""Reads .tar.gz archives as a stream, without keeping members that were passed."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, cast

from radiograft import storage
from radiograft.storage.archive_entry import MAX_MEMBERS, Entry

MAX_HEADER_BYTES = 2**20  # between the contents of two members, such as long names; tarfile keeps them in memory
CHUNK_SIZE = 2**20
CORRUPTION_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


@contextlib.contextmanager
def open_entries(uri: str) -> Iterator[Iterator[Entry]]:
    """Yields the files of an archive in stored order; each must be read before the next one is taken.

    Raises:
        FileNotFoundError: the archive does not exist.
        ValueError: the archive is truncated or corrupt.
    """
    with storage.open_file(uri) as file:
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield _iter_files(stream)
        except CORRUPTION_ERRORS as error:
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


def _iter_files(stream: gzip.GzipFile) -> Iterator[Entry]:
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
                yield Entry(number, member.name, member.size, partial(_read, archive, member))
        else:
            raise tarfile.ReadError(f"more than {MAX_MEMBERS:,} members")
    while stream.read(CHUNK_SIZE):  # tarfile mistakes a corrupt header for the end
        pass


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return file.read() if file else b""
