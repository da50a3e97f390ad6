"""Images in .tar.gz archives, on disk or in a bucket, read as a stream: nothing is unpacked to disk.

`gs://bucket/images_01.tar.gz#17` is the member of that number, counted from 0. Such an archive can only be read
forwards, so all that is wanted of it is read in one pass, and no more than one member is in memory.
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
MAX_MEMBER_BYTES = 256_000_000  # bytes; more than the largest image that preprocess takes has in color and alpha
MAX_HEADER_BYTES = 2**20  # bytes between two members' contents, which tarfile keeps: long names and the like
MAX_MEMBERS = 2**20
CHUNK_SIZE = 2**20
CORRUPTION_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError)


class Member(NamedTuple):
    """A file in an archive: its path there, its address and content."""

    name: str
    uri: str
    content: bytes


def iter_members(uri: str, suffixes: tuple[str, ...]) -> Iterator[Member]:
    """The files of an archive whose names end so, small or large letters, in the order in which they lie there.

    Raises:
        FileNotFoundError: there is no such archive.
        ValueError: it is truncated or damaged, whenever that shows, or a file has more than LARGEST_MEMBER bytes.
    """
    with _open_tar(uri) as stream:
        for number, archive, member in _walk(stream):
            if member.isfile() and member.name.lower().endswith(suffixes):
                name = member.name.encode(errors="backslashreplace").decode()  # of bytes that are not UTF-8
                yield Member(name, f"{uri}#{number}", _content(archive, member, uri))
        while stream.read(CHUNK_SIZE):  # to the checksum; tarfile takes a damaged header for the end
            pass


def parse_member_uri(uri: str) -> tuple[str, int]:
    """Archive and number; the first is empty for a file of its own."""
    match = MEMBER_URI.fullmatch(uri)
    return (match["archive"], int(match["number"])) if match else ("", 0)


def read_members(uris: Iterable[str]) -> Iterator[bytes | None]:
    """The content that each URI names, in the order asked for, or None for a URI that names a file of its own.

    URIs of one archive must follow each other and ascend, because they are served from one pass over it.

    Raises:
        FileNotFoundError, ValueError: as `members`, or the archive holds no such member behind the one asked before.
    """
    for uri, wanted in itertools.groupby(map(parse_member_uri, uris), key=lambda parts: parts[0]):
        if uri:
            yield from _ascending(uri, (number for _, number in wanted))
        else:
            yield from (None for _ in wanted)


def _ascending(uri: str, wanted: Iterable[int]) -> Iterator[bytes]:
    with _open_tar(uri) as stream:
        walk = _walk(stream)
        for number in wanted:
            found = next((each for each in walk if each.number == number), None)
            if found is None or not found.member.isfile():
                raise ValueError(
                    f"{uri} must hold a file as member {number} behind the one read before; if the archive has "
                    "changed since ingest, run ingest again"
                )
            yield _content(found.archive, found.member, uri)


class _Found(NamedTuple):
    number: int
    archive: tarfile.TarFile
    member: tarfile.TarInfo


class _LimitedReader:
    """A stream that ends in an error where what lies between two members goes on: tarfile would keep all of it."""

    def __init__(self, stream: gzip.GzipFile) -> None:
        self.stream, self.place, self.end = stream, 0, MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.place += len(data)
        if self.place > self.end:
            raise tarfile.ReadError(f"more than {MAX_HEADER_BYTES:,} bytes between two members")
        return data


def _walk(stream: gzip.GzipFile) -> Iterator[_Found]:
    """The members of an archive, none of which is kept."""
    metered = _LimitedReader(stream)
    with tarfile.open(fileobj=cast(IO[bytes], metered), mode="r|") as archive:
        for number in range(MAX_MEMBERS + 1):
            member = archive.next()
            if member is None:
                return
            archive.members = []  # type: ignore[attr-defined]  # unknown to typeshed
            archive.pax_headers = {}
            metered.end = archive.offset + MAX_HEADER_BYTES
            yield _Found(number, archive, member)
        raise tarfile.ReadError(f"more than {MAX_MEMBERS:,} members")


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, uri: str) -> bytes:
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
                f"{uri} must be a whole {SUFFIX} archive, got a broken one: {error}; fetch it anew"
            ) from error
