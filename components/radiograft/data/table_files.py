"""Reads tables with every cell as text: CSV with any usual delimiter, plain or packed as .gz or .zip, and Parquet."""

from __future__ import annotations

import codecs
import collections
import csv
import gzip
import io
import json
import lzma
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import IO

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from radiograft import storage
from radiograft.imaging import formats

PACKED = ("", ".gz", ".zip")
SUFFIXES = (*(f".csv{packed}" for packed in PACKED), *(f".tsv{packed}" for packed in PACKED), ".parquet")
DELIMITERS = ",;\t|"
SPREADSHEETS = (".xls", ".xlsx", ".xlsm", ".ods")
BYTE_ORDER_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
MAX_BYTES = 2**28  # of an unpacked table; NIH's has 8 million bytes, CheXpert's 23 million
MAX_COLUMNS = 10_000
MAX_CELLS = 2**25  # each takes up to 100 bytes; CheXpert's table has 4 million
MAX_HEADER = 2**20  # characters
CHUNK_ROWS = 1024
csv.field_size_limit(MAX_BYTES)  # a cell may contain a whole radiology report
REMEDIES = {  # by the format of a file that is named as text
    "ZIP": "unpack it, or export the spreadsheet as .csv", "gzip": "unpack it, or name it .gz",
    "Git LFS": "run git lfs pull", "HTML": "download the table again",
}  # fmt: skip
INTEGERS = {  # nullable types: otherwise an empty cell turns a column of patient ids into floats
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
    """Returns whether a file name has the suffix of a table."""
    return name.lower().endswith(SUFFIXES)


def check_is_table(name: str, what: str) -> None:
    """Checks the suffix of a file that the setting `what` names as a table.

    Raises:
        ValueError: It is not that of a table.
    """
    if not is_table(name):
        remedy = "export it as .csv" if name.lower().endswith(SPREADSHEETS) else "pass the file"
        raise ValueError(f"{what} must be a table, which ends in {', '.join(SUFFIXES)}, got {name!r}; {remedy}")


def first_table(files: Mapping[str, storage.ObjectInfo], names: Iterable[str]) -> tuple[str, bytes] | None:
    """Returns name and unpacked content of the first of these tables that exists, plain, .gz or .zip."""
    for name in (plain + suffix for plain in names for suffix in PACKED):
        if name in files:
            return name, unpack(name, storage.read_bytes(files[name].uri))
    return None


def unpack(name: str, content: bytes) -> bytes:
    """Decompresses a .gz or .zip file; other content is returned unchanged.

    Raises:
        ValueError: The file is corrupt, unpacks to more than MAX_BYTES, or does not contain one .csv or .tsv file.
    """
    try:
        if name.lower().endswith(".gz"):
            with gzip.open(io.BytesIO(content)) as file:
                return _read_bounded(name, file)
        if name.lower().endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                tables = [member for member in archive.infolist() if member.filename.lower().endswith((".csv", ".tsv"))]
                tables = [member for member in tables if not member.filename.startswith("__")]
                if len(tables) != 1:
                    raise ValueError(f"{name} must contain exactly one .csv file, got {len(tables)}")
                if tables[0].header_offset < 0:  # zipfile would seek to it
                    raise zipfile.BadZipFile("the table begins before the archive")
                with archive.open(tables[0]) as member:
                    return _read_bounded(name, member)
    except CORRUPTION_ERRORS as error:
        raise ValueError(f"{name} must be complete, got a corrupt file: {error}; download it again") from error
    return content


def read(name: str, content: bytes) -> pd.DataFrame:
    """Reads a table with every cell as text; missing cells are "".

    Raises:
        ValueError: The table is malformed or not Unicode, or it exceeds MAX_BYTES, MAX_COLUMNS or MAX_CELLS.
    """
    if not name.lower().endswith(".parquet"):
        return read_csv(name, unpack(name, content))
    try:
        lists = _lists_as_text(_read_parquet(name, content))
        table: pd.DataFrame = lists.to_pandas(ignore_metadata=True, types_mapper=INTEGERS.get)
        return strip_columns(name, table.astype("string").fillna(""))
    except (ValueError, OSError, TypeError, pa.ArrowException) as error:
        raise ValueError(f"{name} must be a Parquet table, got: {error}") from None


def _read_parquet(name: str, content: bytes) -> pa.Table:
    """Decodes a table in chunks and stops at the limit, since a few bytes may encode any number of rows."""
    file = parquet.ParquetFile(io.BytesIO(content))
    batches, size = [], 0
    _check_cells(name, file.metadata.num_columns, file.metadata.num_columns * file.metadata.num_rows)
    if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
        raise ValueError("two columns with the same name; rename one")
    for encoded in file.iter_batches(CHUNK_ROWS):
        columns = [
            column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in encoded.columns
        ]
        batch = pa.RecordBatch.from_arrays(columns, names=encoded.schema.names)
        batch.validate(full=True)  # raises for invalid UTF-8 here instead of at its first use
        batches.append(batch)
        size += batch.nbytes
        _check_bytes(name, size)
    return pa.Table.from_batches(batches) if batches else file.schema_arrow.empty_table()


def read_csv(name: str, content: bytes) -> pd.DataFrame:
    """Reads an unpacked .csv or .tsv file with every cell as text; raises as `read`."""
    _check_bytes(name, len(content))
    text = re.sub(r"^sep=.\r?\n", "", decode_text(name, content), count=1)  # Excel's first line
    try:
        delimiter = find_delimiter(text)
        _check_lines(name, text, delimiter)
        table = pd.read_csv(io.StringIO(text), sep=delimiter, dtype="string", keep_default_na=False, index_col=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, csv.Error) as error:
        raise ValueError(f"{name} must be a table, got: {error}") from None
    return strip_columns(name, table)


def find_delimiter(text: str) -> str:
    """Returns the delimiter that splits the header into most columns; a comma if several do.

    Example:
        >>> find_delimiter("image;age;weight, kg")
        ';'
    """
    header = text[:MAX_HEADER].lstrip("\r\n").splitlines()[:1]
    return max(DELIMITERS, key=lambda delimiter: len(next(csv.reader(header, delimiter=delimiter), [])))


def strip_columns(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Removes white space around the names of columns.

    Raises:
        ValueError: Two names differ only in it.
    """
    stripped = table.columns.str.strip()
    if stripped.has_duplicates:
        raise ValueError(
            f"{name} must name each column once, got two names that differ only in white space; rename one"
        )
    return table.set_axis(stripped, axis="columns")


def _lists_as_text(table: pa.Table) -> pa.Table:
    """Returns the table with JSON text in place of lists."""
    for place, field in enumerate(table.schema):
        if (
            pa.types.is_list(field.type)
            or pa.types.is_large_list(field.type)
            or pa.types.is_fixed_size_list(field.type)
        ):
            cells = [None if cell is None else json.dumps(list(map(str, cell))) for cell in table[place].to_pylist()]
            table = table.set_column(place, field.name, pa.array(cells, pa.string()))
    return table


def decode_text(name: str, content: bytes) -> str:
    """Decodes a text file, UTF-8 or, with its byte order mark, UTF-16, and removes the byte order mark.

    Raises:
        ValueError: The content is neither, or it contains null characters, as UTF-16 without the mark does.
    """
    kind = formats.recognize(content)
    if kind in REMEDIES:
        raise ValueError(f"{name} must be UTF-8 text, got a file of the kind {kind}; {REMEDIES[kind]}")
    try:
        text = content.decode(BYTE_ORDER_MARKS.get(content[:2], "utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must be UTF-8 text, got invalid bytes at {error.start}; save it as UTF-8") from None
    if "\0" in text:
        raise ValueError(f"{name} must be UTF-8 text, got a null character at {text.index(chr(0))}; save it as UTF-8")
    return text


def _read_bounded(name: str, file: gzip.GzipFile | IO[bytes]) -> bytes:
    content = file.read(MAX_BYTES + 1)
    _check_bytes(name, len(content))
    return content


def _check_bytes(name: str, count: int) -> None:
    if count > MAX_BYTES:
        raise ValueError(f"{name} must have at most {MAX_BYTES:,} bytes unpacked")


def _check_lines(name: str, text: str, delimiter: str) -> None:
    """Checks the number of cells, that no row is longer than the header, and that no two columns have one name.

    pandas pads short rows, so that a small file can fill the memory, and silently truncates long rows.
    """
    _check_cells(name, 1, text.count(delimiter))
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter)
    rows = filter(None, reader)
    header = next(rows, [])
    _check_names(name, header)
    _check_cells(name, len(header), len(header) * (text.count("\n") + text.count("\r")))
    for row in rows:
        if len(row) > len(header) and any(cell.strip() for cell in row[len(header) :]):
            remedy = f"put double quotes around cells that contain {delimiter!r}"
            raise ValueError(
                f"{name} must have at most as many cells in each row as in its header, {len(header)}, got {len(row)} "
                f"in line {reader.line_num}; {'the first line must name the columns' if len(header) == 1 else remedy}"
            )


def _check_names(name: str, header: list[str]) -> None:
    """Checks that no two columns have one name; pandas would number them, and only the first would be read."""
    counts = collections.Counter(column.strip() for column in header)
    repeated = [place for place, column in enumerate(header, 1) if column.strip() and counts[column.strip()] > 1]
    if repeated:
        raise ValueError(
            f"{name} must name each column once, got one name for the columns {', '.join(map(str, repeated))}; rename "
            "one; the first line must be the header"
        )


def _check_cells(name: str, columns: int, cells: int) -> None:
    if columns > MAX_COLUMNS or cells > MAX_CELLS:
        raise ValueError(
            f"{name} must have at most {MAX_COLUMNS:,} columns and {MAX_CELLS:,} cells, got {columns:,} and {cells:,}"
        )
