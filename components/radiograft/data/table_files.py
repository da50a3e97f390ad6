"""Tables as they are shipped: CSV, plain, .gz or .zip, and Parquet; every cell is read as text."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import IO

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from radiograft import storage

PACKED = ("", ".gz", ".zip")
SUFFIXES = (*(f".csv{packed}" for packed in PACKED), ".parquet")
MAX_BYTES = 2**28  # bytes of a table unpacked; NIH's has 8 million, CheXpert's 23
MAX_COLUMNS = 10_000
MAX_CELLS = 2**25  # which take up to 100 bytes each; CheXpert's table has 4 million
CHUNK_ROWS = 1024
csv.field_size_limit(MAX_BYTES)  # a report may stand in a cell
INTEGERS = {  # which pandas would make floating-point where a cell is empty: another id for each patient
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(),
    pa.uint16(): pd.UInt16Dtype(),
    pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}
CORRUPTION_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    RuntimeError,
    UnicodeDecodeError,
)


def is_table(name: str) -> bool:
    """Whether a file's name is that of a table."""
    return name.lower().endswith(SUFFIXES)


def first_table(files: Mapping[str, storage.ObjectInfo], names: Iterable[str]) -> tuple[str, bytes] | None:
    """Name and unpacked content of the first of these files that is there, plain, .gz or .zip."""
    name = next((name for plain in names for name in (plain + packed for packed in PACKED) if name in files), None)
    return None if name is None else (name, unpack(name, storage.read_bytes(files[name].uri)))


def unpack(name: str, content: bytes) -> bytes:
    """What a .gz or .zip file holds, or the content itself.

    Raises:
        ValueError: it is damaged, larger than LARGEST, or holds other than one .csv file.
    """
    try:
        if name.lower().endswith(".gz"):
            with gzip.open(io.BytesIO(content)) as file:
                return _bounded(name, file)
        if name.lower().endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                tables = [each for each in archive.infolist() if each.filename.lower().endswith(".csv")]
                tables = [each for each in tables if not each.filename.startswith("__")]
                if len(tables) != 1:
                    raise ValueError(f"{name} must hold one .csv file, got {len(tables)}")
                if tables[0].header_offset < 0:  # zipfile would seek there
                    raise zipfile.BadZipFile("the table begins before the archive")
                with archive.open(tables[0]) as member:
                    return _bounded(name, member)
    except CORRUPTION_ERRORS as error:
        raise ValueError(f"{name} must be a whole file, got a broken one: {error}; fetch it anew") from error
    return content


def read(name: str, content: bytes) -> pd.DataFrame:
    """A table's cells as text, empty where there is nothing.

    Raises:
        ValueError: no such table, text that is not UTF-8, or more than LARGEST, MOST_COLUMNS and MOST_CELLS allow.
    """
    if not name.lower().endswith(".parquet"):
        return read_csv(name, unpack(name, content))
    try:
        table: pd.DataFrame = _read_parquet(name, content).to_pandas(ignore_metadata=True, types_mapper=INTEGERS.get)
        return table.astype("string").fillna("")
    except (ValueError, OSError, TypeError, pa.ArrowException) as error:
        raise ValueError(f"{name} must be a Parquet table, got: {error}") from None


def _read_parquet(name: str, content: bytes) -> pa.Table:
    """The table, of which no more is decoded than is allowed: a few bytes may stand for any number of rows."""
    file = parquet.ParquetFile(io.BytesIO(content))
    parts, size = [], 0
    _check_cells(name, file.metadata.num_columns, file.metadata.num_columns * file.metadata.num_rows)
    if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
        raise ValueError("two columns of one name; rename one")
    for part in file.iter_batches(CHUNK_ROWS):
        cells = [each.dictionary_decode() if pa.types.is_dictionary(each.type) else each for each in part.columns]
        parts.append(pa.RecordBatch.from_arrays(cells, names=part.schema.names))
        parts[-1].validate(full=True)  # or text that is not UTF-8 would be noticed by who works with it
        size += parts[-1].nbytes
        _check_bytes(name, size)
    return pa.Table.from_batches(parts) if parts else file.schema_arrow.empty_table()


def read_csv(name: str, content: bytes) -> pd.DataFrame:
    """As `read`, of a .csv file that is unpacked."""
    _check_bytes(name, len(content))
    lines = decode_text(name, content)
    try:
        _check_lines(name, lines)
        return pd.read_csv(io.StringIO(lines), dtype="string", keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise ValueError(f"{name} must be a table, got: {error}") from None


def decode_text(name: str, content: bytes) -> str:
    """What a text file says, without a byte order mark.

    Raises:
        ValueError: it is not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must be UTF-8 text, got other bytes at {error.start}; save it as UTF-8") from None


def _bounded(name: str, file: gzip.GzipFile | IO[bytes]) -> bytes:
    content = file.read(MAX_BYTES + 1)
    _check_bytes(name, len(content))
    return content


def _check_bytes(name: str, count: int) -> None:
    if count > MAX_BYTES:
        raise ValueError(f"{name} must have at most {MAX_BYTES:,} bytes unpacked")


def _check_lines(name: str, lines: str) -> None:
    """Refuses what would take many times its own size in memory, for pandas fills each row up to the header's length,
    and rows that are longer than the header, which it would cut off."""
    _check_cells(name, 1, lines.count(","))
    reader = csv.reader(io.StringIO(lines, newline=None))
    rows = filter(None, reader)
    header = next(rows, [])
    _check_cells(name, len(header), len(header) * (lines.count("\n") + lines.count("\r")))
    for row in rows:
        if any(cell.strip() for cell in row[len(header) :]):
            raise ValueError(
                f"{name} must have as many cells in each row as in its header, {len(header)}, got {len(row)} in line "
                f"{reader.line_num}; put a cell that holds a comma in double quotes"
            )


def _check_cells(name: str, columns: int, cells: int) -> None:
    if columns > MAX_COLUMNS or cells > MAX_CELLS:
        raise ValueError(
            f"{name} must have at most {MAX_COLUMNS:,} columns and {MAX_CELLS:,} cells, got {columns:,} and {cells:,}"
        )
