"""Streams images from .tar.gz archives, on disk or in a bucket, without unpacking them to disk.

`gs://bucket/images_01.tar.gz#17` is member 17, counted from 0. An archive can only be read forward, so all members are
read in one pass, with one of them in memory at a time.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple, cast

from radiograft import storage

SUFFIX = ".tar.gz"
MEMBER_URI = re.compile(r"(?P<archive>.+\.tar\.gz)#(?P<number>\d+)", re.IGNORECASE)
MAX_MEMBER_BYTES = 256_000_000  # more than the largest image that preprocess accepts, with color and alpha
MAX_HEADER_BYTES = 2**20  # between the contents of two members, such as long names; tarfile keeps them in memory
MAX_MEMBERS = 2**20
CHUNK_SIZE = 2**20
CORRUPTION_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


class Member(NamedTuple):
    """A file in an archive: its path in the archive, URI and content."""

    name: str
    uri: str
    content: bytes


def iter_members(uri: str, suffixes: tuple[str, ...]) -> Iterator[Member]:
    """Yields the files of an archive with one of the suffixes, ignoring case, in stored order.

    Raises:
        FileNotFoundError: the archive does not exist.
        ValueError: the archive is truncated or corrupt, or a file has more than MAX_MEMBER_BYTES.
    """
    with _open_tar(uri) as stream:
        for number, archive, member in _iter_entries(stream):
            if member.isfile() and member.name.lower().endswith(suffixes):
                name = member.name.encode(errors="backslashreplace").decode()  # may contain bytes that are not UTF-8
                yield Member(name, f"{uri}#{number}", _read_content(archive, member, uri))
        while stream.read(CHUNK_SIZE):  # verifies the checksum; tarfile mistakes a corrupt header for the end
            pass


def parse_member_uri(uri: str) -> tuple[str, int]:
    """Splits a member URI into archive and number.

    Example:
        >>> parse_member_uri("images_01.tar.gz#17"), parse_member_uri("image.png")
        (('images_01.tar.gz', 17), ('', 0))

    Returns:
        The archive's URI, empty if the URI names a regular file, and the member's number.
    """
    match = MEMBER_URI.fullmatch(uri)
    return (match["archive"], int(match["number"])) if match else ("", 0)


def read_members(uris: Iterable[str]) -> Iterator[bytes | None]:
    """Yields the content of each URI in order, or None for a URI of a regular file.

    URIs of one archive must be consecutive and ascending, because they are read in one pass.

    Raises:
        FileNotFoundError, ValueError: as `iter_members`, or the archive has no such member after the previous one.
    """
    for uri, group in itertools.groupby(map(parse_member_uri, uris), key=lambda parts: parts[0]):
        if uri:
            yield from _read_ascending(uri, (number for _, number in group))
        else:
            yield from (None for _ in group)


def _read_ascending(uri: str, numbers: Iterable[int]) -> Iterator[bytes]:
    with _open_tar(uri) as stream:
        entries = _iter_entries(stream)
        for number in numbers:
            entry = next((entry for entry in entries if entry.number == number), None)
            if entry is None or not entry.member.isfile():
                raise ValueError(
                    f"{uri} must contain a file as member {number} after the previous one; if the archive has changed "
                    "since ingest, run ingest again"
                )
            yield _read_content(entry.archive, entry.member, uri)


class _Entry(NamedTuple):
    number: int
    archive: tarfile.TarFile
    member: tarfile.TarInfo


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


def _iter_entries(stream: gzip.GzipFile) -> Iterator[_Entry]:
    """Yields the members of an archive without keeping them."""
    limited = _LimitedReader(stream)
    with tarfile.open(fileobj=cast(IO[bytes], limited), mode="r|") as archive:
        for number in range(MAX_MEMBERS + 1):
            member = archive.next()
            if member is None:
                return
            archive.members = []  # type: ignore[attr-defined]  # missing in typeshed
            archive.pax_headers = {}
            limited.limit = archive.offset + MAX_HEADER_BYTES
            yield _Entry(number, archive, member)
        raise tarfile.ReadError(f"more than {MAX_MEMBERS:,} members")


def _read_content(archive: tarfile.TarFile, member: tarfile.TarInfo, uri: str) -> bytes:
    if member.size > MAX_MEMBER_BYTES:
        raise ValueError(f"a file in {uri} must have at most {MAX_MEMBER_BYTES:,} bytes, got {member.size:,}")
    file = archive.extractfile(member)
    return file.read() if file else b""


@contextlib.contextmanager
def _open_tar(uri: str) -> Iterator[gzip.GzipFile]:
    with storage.open_file(uri) as file:
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield stream
        except CORRUPTION_ERRORS as error:
            raise ValueError(
                f"{uri} must be a complete {SUFFIX} archive, got a corrupt one: {error}; download it again"
            ) from error
