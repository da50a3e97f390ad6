"""Streams images from .tar.gz and .zip archives, on disk or in a bucket, without unpacking them to disk.

`gs://bucket/images_01.tar.gz#17` is member 17, counted from 0. A .tar.gz archive can only be read forward, so all
members are read in one pass, with one of them in memory at a time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from radiograft.storage.archive_entries import Entry, open_tar, open_zip
from radiograft.storage.backend import MAX_MEMBER_BYTES

SUFFIXES = (".tar.gz", ".tgz", ".zip")
MEMBER_URI = re.compile(r"(?P<archive>.+\.(?:tar\.gz|tgz|zip))#(?P<number>\d+)", re.IGNORECASE)


class Member(NamedTuple):
    """A file in an archive: its path in the archive, URI and content; the content is None if it was not read."""

    name: str
    uri: str
    content: bytes | None


def is_archive(name: str) -> bool:
    """Returns whether a file name has the suffix of an archive.

    Example:
        >>> is_archive("Images.ZIP"), is_archive("labels.csv.zip")
        (True, False)
    """
    return name.lower().endswith(SUFFIXES) and not name.lower().endswith((".csv.zip", ".tsv.zip"))


def iter_members(uri: str, is_wanted: Callable[[str], bool]) -> Iterator[Member]:
    """Yields the files of an archive in stored order, with the content of those whose name is wanted.

    Raises:
        FileNotFoundError: the archive does not exist.
        ValueError: the archive is truncated, corrupt or encrypted, or a wanted file has more than MAX_MEMBER_BYTES.
    """
    with _open(uri) as entries:
        for entry in entries:
            # A name may have Windows's separators, and bytes that are not UTF-8.
            name = entry.name.replace("\\", "/").encode(errors="backslashreplace").decode()
            yield Member(name, f"{uri}#{entry.number}", _read_content(entry, uri) if is_wanted(name) else None)


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
    with _open(uri) as entries:
        for number in numbers:
            entry = next((entry for entry in entries if entry.number >= number), None)
            if entry is None or entry.number != number:
                raise ValueError(
                    f"{uri} must contain a file as member {number} after the previous one; if the archive has changed "
                    "since ingest, run ingest again"
                )
            yield _read_content(entry, uri)


def _open(uri: str) -> AbstractContextManager[Iterator[Entry]]:
    return open_zip(uri) if uri.lower().endswith(".zip") else open_tar(uri)


def _read_content(entry: Entry, uri: str) -> bytes:
    if entry.size > MAX_MEMBER_BYTES:
        raise ValueError(f"a file in {uri} must have at most {MAX_MEMBER_BYTES:,} bytes, got {entry.size:,}")
    return entry.read()
