"""Streams the rows of arrays in .npz archives, on disk or in a bucket. Each image is one row.

`gs://bucket/pneumoniamnist.npz#train_images/17` is row 17 of the array train_images. A compressed array can only be
read forward, so all rows are read in one pass, with one of them in memory at a time.
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
MAX_ROW_BYTES = 256_000_000  # more than the largest image that preprocess accepts, with color and alpha
MAX_WHOLE_BYTES = 256_000_000  # of an array that is read at once
MAX_HEADER_BYTES = 10_000  # NumPy has the same limit, but reads up to 4 GB before checking it
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # NumPy's; LZMA allocates as much as the file claims
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
# zipfile raises RuntimeError for unsupported features and UnicodeDecodeError for invalid names.
CORRUPTION_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeDecodeError)


class NpyHeader(NamedTuple):
    """The header of an array: shape, whether it is stored in column-major order, and dtype."""

    shape: tuple[int, ...]
    column_major: bool
    dtype: np.dtype[np.generic]


class NpzArchive:
    """An open .npz archive. All methods take the name of an array."""

    def __init__(self, uri: str, zipped: zipfile.ZipFile) -> None:
        self.uri = uri
        self.zipped = zipped

    def names(self) -> list[str]:
        """Returns the names of the arrays in stored order."""
        return [file.removesuffix(".npy") for file in self.zipped.namelist()]

    def header(self, name: str) -> NpyHeader:
        """Reads the header of an array.

        Raises:
            ValueError: the array is missing, is not in NumPy's format or contains pickled objects, which are never
                loaded.
        """
        with self._open(name) as member:
            return self._header(name, member)

    def read(self, name: str, largest: int = MAX_WHOLE_BYTES) -> np.ndarray:
        """Reads a whole array of at most `largest` bytes.

        Raises:
            ValueError: as `header`, or the array is larger.
        """
        shape, _, dtype = self.header(name)
        size = dtype.itemsize * math.prod(shape)
        if not 0 <= size <= largest:  # NumPy allocates the claimed size before it reads the data
            raise ValueError(f"{self._describe(name)} must have at most {largest:,} bytes, got {size:,}")
        with self._open(name) as member:
            with self._explain_errors(name):
                array = np.lib.format.read_array(member, allow_pickle=False)
            _expect_end(name, member)
            return array

    def rows(self, name: str) -> Iterator[np.ndarray]:
        """Yields the rows of an array in order, each of shape `header(name).shape[1:]`.

        Raises:
            ValueError: as `header`, or the array is a scalar, is stored in column-major order, or has rows that are
                empty or larger than MAX_ROW_BYTES.
        """
        with self._open(name) as member:
            shape, column_major, dtype = self._header(name, member)
            if column_major or not shape:
                received = "column-major order" if shape else "a scalar"
                raise ValueError(
                    f"{self._describe(name)} must be stored in row-major order, got {received}; save the result of "
                    "np.ascontiguousarray"
                )
            count, size = shape[0], dtype.itemsize * math.prod(shape[1:])
            if not 0 < size <= MAX_ROW_BYTES:
                raise ValueError(
                    f"a row of {self._describe(name)} must have 1 to {MAX_ROW_BYTES:,} bytes, got {size:,}"
                )
            for number in range(count):
                data = member.read(size)
                if len(data) < size:
                    raise EOFError(f"{name} ends in row {number} of {count}")
                yield np.frombuffer(data, dtype).reshape(shape[1:])
            _expect_end(name, member)

    def _open(self, name: str) -> zipfile.ZipExtFile:
        if f"{name}.npy" not in self.zipped.namelist():
            names = ", ".join(sorted(self.names()))
            raise ValueError(f"{self.uri} must contain the array {name}, got {names or 'no arrays'}")
        member = self.zipped.getinfo(f"{name}.npy")
        if member.header_offset < 0:  # zipfile would seek to it
            raise zipfile.BadZipFile(f"{name} starts before the archive")
        if member.compress_type not in COMPRESSIONS:
            raise zipfile.BadZipFile(f"{name} has an unsupported compression method")
        return cast(zipfile.ZipExtFile, self.zipped.open(member))

    def _header(self, name: str, member: zipfile.ZipExtFile) -> NpyHeader:
        with self._explain_errors(name):
            version = np.lib.format.read_magic(member)
            read_header = HEADERS[version]
            length = int.from_bytes(member.peek(4)[: 2 * version[0]], "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {length:,} bytes")
            header = NpyHeader(*read_header(member))
        if header.dtype.hasobject:
            raise ValueError(
                f"{self._describe(name)} must contain plain numbers, got pickled objects, which are never loaded; save "
                "it with a numeric dtype"
            )
        return header

    @contextlib.contextmanager
    def _explain_errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, KeyError, SyntaxError, tokenize.TokenError) as error:
            raise ValueError(f"{self._describe(name)} must be a valid .npy array, got: {error}") from error

    def _describe(self, name: str) -> str:
        return f"{name} in {self.uri}"


def _expect_end(name: str, member: zipfile.ZipExtFile) -> None:
    if member.read(1):  # reading to the end also verifies the checksum
        raise EOFError(f"{name} has extra data after its last row")


@contextlib.contextmanager
def open_npz(uri: str) -> Iterator[NpzArchive]:
    """Opens an archive. Of an archive in a bucket, only the ranges that are read are fetched.

    Raises:
        FileNotFoundError: the archive does not exist.
        ValueError: as `open_npz_file`.
    """
    with storage.open_file(uri) as file, open_npz_file(uri, file) as archive:
        yield archive


@contextlib.contextmanager
def open_npz_file(name: str, file: IO[bytes]) -> Iterator[NpzArchive]:
    """Opens an archive from a file object.

    Args:
        name: of the file, for error messages.

    Raises:
        ValueError: the file is not an archive, is truncated or is corrupt; also while the archive is read.
    """
    try:
        with zipfile.ZipFile(file) as zipped:
            yield NpzArchive(name, zipped)
    except CORRUPTION_ERRORS as error:
        raise ValueError(
            f"{name} must be a complete .npz archive, got a corrupt one: {error}; download it again"
        ) from error


def row_uri(uri: str, name: str, row: int) -> str:
    """Returns the URI of a row."""
    return f"{uri}#{name}/{row}"


def parse_row_uri(uri: str) -> tuple[str, str, int]:
    """Splits a row URI into archive, array and row; the first two are empty if the URI names a regular file.

    Example:
        >>> parse_row_uri("pneumoniamnist.npz#train_images/17"), parse_row_uri("image.png")
        (('pneumoniamnist.npz', 'train_images', 17), ('', '', 0))
    """
    match = ROW_URI.fullmatch(uri)
    return (match["archive"], match["array"], int(match["row"])) if match else ("", "", 0)


def read_rows(uris: Iterable[str]) -> Iterator[np.ndarray | None]:
    """Yields the row of each URI in order, or None for a URI of a regular file.

    Consecutive URIs of one array must be ascending, because they are read in one pass.

    Raises:
        ValueError: the archive is corrupt or has no such row after the previous one.
    """
    for (uri, name), group in itertools.groupby(map(parse_row_uri, uris), key=lambda parts: parts[:2]):
        if uri:
            with open_npz(uri) as archive:
                yield from _read_ascending(archive, name, (row for _, _, row in group))
        else:
            yield from (None for _ in group)


def _read_ascending(archive: NpzArchive, name: str, rows: Iterable[int]) -> Iterator[np.ndarray]:
    numbered = enumerate(archive.rows(name))
    for row in rows:
        pixels = next((pixels for number, pixels in numbered if number == row), None)
        if pixels is None:
            raise ValueError(
                f"{archive.uri} must contain row {row} of {name} after the previous one; if the file has changed since "
                "ingest, run ingest again"
            )
        yield pixels
