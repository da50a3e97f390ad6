"""Arrays in an .npz archive, on disk or in a bucket, read row by row: an image there is a row of an array.

`gs://bucket/pneumoniamnist.npz#train_images/17` is row 17 of the array train_images. An array is one compressed run of
bytes that can only be read forwards, so many rows are read in one pass, and no more than one of them is kept.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, NamedTuple, cast

import numpy as np

from radiograft import storage

ROW_URI = re.compile(r"(?P<archive>.+\.npz)#(?P<array>\w+)/(?P<row>\d+)")
MAX_ROW_BYTES = 256_000_000  # bytes; more than the largest image that preprocess takes has in color and alpha
MAX_WHOLE_BYTES = 256_000_000  # bytes; of an array that is read as a whole
MAX_HEADER_BYTES = 10_000  # bytes; NumPy's own bound, at which it looks when it has read up to 4 GB
STORED_AS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # as NumPy does; LZMA reserves as much memory as it is told to
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# RuntimeError is for what zipfile cannot read, UnicodeDecodeError for names that are not the UTF-8 that they say.
CORRUPTION_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError)


class NpyHeader(NamedTuple):
    """What stands before an array's numbers."""

    shape: tuple[int, ...]
    by_column: bool
    dtype: np.dtype[np.generic]


class NpzArchive:
    """An open .npz archive; `name` is that of an array everywhere."""

    def __init__(self, uri: str, zipped: zipfile.ZipFile) -> None:
        self.uri = uri
        self.zipped = zipped

    def names(self) -> list[str]:
        """Of the arrays, as they are stored."""
        return [file.removesuffix(".npy") for file in self.zipped.namelist()]

    def header(self, name: str) -> NpyHeader:
        """Shape and kind of an array, without its numbers.

        Raises:
            ValueError: no such array, not in NumPy's format, or pickled objects, which are never loaded.
        """
        with self._open(name) as member:
            return self._header(name, member)

    def read(self, name: str, largest: int = MAX_WHOLE_BYTES) -> np.ndarray:
        """A whole array of at most `largest` bytes; raises ValueError for a larger one and as `header` does."""
        shape, _, dtype = self.header(name)
        size = dtype.itemsize * math.prod(shape)
        if not 0 <= size <= largest:  # NumPy reserves what the header says before it reads on
            raise ValueError(f"{self._place(name)} must have at most {largest:,} bytes, got {size:,}")
        with self._open(name) as member:
            with self._as_saved(name):
                array = np.lib.format.read_array(member, allow_pickle=False)
            _expect_end(name, member)
            return array

    def rows(self, name: str) -> Iterator[np.ndarray]:
        """The rows of an array one after the other, each of shape `header(name).shape[1:]`.

        Raises:
            ValueError: as `header` does; a row of no or of more than LARGEST_ROW bytes; a single number, or numbers
                that are stored column after column, so that no row lies together.
        """
        with self._open(name) as member:
            shape, by_column, dtype = self._header(name, member)
            if by_column or not shape:
                found = "it column after column" if shape else "a single number"
                raise ValueError(
                    f"{self._place(name)} must be stored row after row, got {found}; save what np.ascontiguousarray "
                    "makes of it"
                )
            count, size = shape[0], dtype.itemsize * math.prod(shape[1:])
            if not 0 < size <= MAX_ROW_BYTES:
                raise ValueError(f"a row of {self._place(name)} must have 1 to {MAX_ROW_BYTES:,} bytes, got {size:,}")
            for number in range(count):
                data = member.read(size)
                if len(data) < size:
                    raise EOFError(f"{name} ends in row {number} of {count}")
                yield np.frombuffer(data, dtype).reshape(shape[1:])
            _expect_end(name, member)

    def _open(self, name: str) -> zipfile.ZipExtFile:
        if f"{name}.npy" not in self.zipped.namelist():
            held = ", ".join(sorted(self.names()))
            raise ValueError(f"{self.uri} must hold an array {name}, got {held or 'none'}")
        member = self.zipped.getinfo(f"{name}.npy")
        if member.header_offset < 0:  # zipfile would seek there
            raise zipfile.BadZipFile(f"{name} begins before the archive")
        if member.compress_type not in STORED_AS:
            raise zipfile.BadZipFile(f"{name} is compressed as NumPy never does it")
        return cast(zipfile.ZipExtFile, self.zipped.open(member))

    def _header(self, name: str, member: zipfile.ZipExtFile) -> NpyHeader:
        with self._as_saved(name):
            version = np.lib.format.read_magic(member)
            read_header = HEADERS[version]
            length = int.from_bytes(member.peek(4)[: 2 * version[0]], "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length:,} bytes")
            header = NpyHeader(*read_header(member))
        if header.dtype.hasobject:
            raise ValueError(
                f"{self._place(name)} must hold plain numbers, got pickled objects, which are never loaded; save it "
                "with a numeric dtype"
            )
        return header

    @contextlib.contextmanager
    def _as_saved(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, SyntaxError, tokenize.TokenError) as error:
            raise ValueError(f"{self._place(name)} must be an array as NumPy saves it, got: {error}") from error

    def _place(self, name: str) -> str:
        return f"{name} in {self.uri}"


def _expect_end(name: str, member: zipfile.ZipExtFile) -> None:
    if member.read(1):  # reading on to the end also compares the checksum
        raise EOFError(f"{name} goes on after its numbers")


@contextlib.contextmanager
def open_npz(uri: str) -> Iterator[NpzArchive]:
    """Opens an archive for as long as it is read; of one in a bucket only what is read is fetched.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as `within`.
    """
    with storage.open_file(uri) as file, open_npz_file(uri, file) as archive:
        yield archive


@contextlib.contextmanager
def open_npz_file(name: str, file: IO[bytes]) -> Iterator[NpzArchive]:
    """The archive that a file holds.

    Args:
        name: of the file, for messages.

    Raises:
        ValueError: it is no archive, truncated or damaged, whenever that shows.
    """
    try:
        with zipfile.ZipFile(file) as zipped:
            yield NpzArchive(name, zipped)
    except CORRUPTION_ERRORS as error:
        raise ValueError(f"{name} must be a whole .npz archive, got a broken one: {error}; fetch it anew") from error


def row_uri(uri: str, name: str, row: int) -> str:
    """The URI of a row."""
    return f"{uri}#{name}/{row}"


def parse_row_uri(uri: str) -> tuple[str, str, int]:
    """Archive, array and row; the first two are empty for a file of its own."""
    match = ROW_URI.fullmatch(uri)
    return (match["archive"], match["array"], int(match["row"])) if match else ("", "", 0)


def read_rows(uris: Iterable[str]) -> Iterator[np.ndarray | None]:
    """The row that each URI names, in the order asked for, or None for a URI that names a file of its own.

    URIs of one array that follow each other must ascend, because they are served from one pass over it.

    Raises:
        ValueError: the archive is damaged, or holds no such row behind the one asked for before.
    """
    for (uri, name), found in itertools.groupby(map(parse_row_uri, uris), key=lambda parts: parts[:2]):
        if uri:
            with open_npz(uri) as archive:
                yield from _ascending(archive, name, (row for _, _, row in found))
        else:
            yield from (None for _ in found)


def _ascending(archive: NpzArchive, name: str, wanted: Iterable[int]) -> Iterator[np.ndarray]:
    numbered = enumerate(archive.rows(name))
    for row in wanted:
        pixels = next((pixels for number, pixels in numbered if number == row), None)
        if pixels is None:
            raise ValueError(
                f"{archive.uri} must hold a row {row} of {name} behind the one read before; if the file has changed "
                "since ingest, run ingest again"
            )
        yield pixels
