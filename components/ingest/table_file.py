"""Tables as they are shipped: CSV, plain, .gz or .zip, and Parquet; every cell is read as text."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import IO

import pandas as pd

from components import storage

PACKED = ("", ".gz", ".zip")
SUFFIXES = (*(f".csv{packed}" for packed in PACKED), ".parquet")
LARGEST = 2**30  # bytes of a table unpacked; NIH's has 8 million


def first(files: Mapping[str, storage.Entry], names: Iterable[str]) -> tuple[str, bytes] | None:
    """Name and unpacked content of the first of these files that is there, plain, .gz or .zip."""
    name = next((name for plain in names for name in (plain + packed for packed in PACKED) if name in files), None)
    return None if name is None else (name, unpacked(name, storage.read_bytes(files[name].uri)))


def unpacked(name: str, content: bytes) -> bytes:
    """What a .gz or .zip file holds, or the content itself.

    Raises:
        ValueError: it is damaged, larger than LARGEST, or holds other than one .csv file.
    """
    try:
        if name.endswith(".gz"):
            with gzip.open(io.BytesIO(content)) as file:
                return _bounded(name, file)
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                tables = [member for member in archive.namelist() if member.endswith(".csv") and member[:2] != "__"]
                if len(tables) != 1:
                    raise ValueError(f"{name} must hold one .csv file, got {len(tables)}")
                with archive.open(tables[0]) as member:
                    return _bounded(name, member)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError) as error:
        raise ValueError(f"{name} must be a whole file, got a broken one: {error}; fetch it anew") from error
    return content


def read(name: str, content: bytes) -> pd.DataFrame:
    """A table's cells as text, empty where there is nothing.

    Raises:
        ValueError: no such table, or text that is not UTF-8.
    """
    if name.endswith(".parquet"):
        try:
            return pd.read_parquet(io.BytesIO(content)).astype("string").fillna("")
        except (ValueError, OSError) as error:
            raise ValueError(f"{name} must be a Parquet table, got: {error}") from None
    return read_csv(name, unpacked(name, content))


def read_csv(name: str, content: bytes) -> pd.DataFrame:
    """As `read`, of a .csv file that is unpacked."""
    try:
        return pd.read_csv(
            io.BytesIO(content), dtype="string", keep_default_na=False, encoding="utf-8-sig", index_col=False
        )
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} must be UTF-8 text, got other bytes at {error.start}; save it as UTF-8") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"{name} must be a table, got: {error}") from None


def _bounded(name: str, file: gzip.GzipFile | IO[bytes]) -> bytes:
    content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"{name} must have at most {LARGEST:,} bytes unpacked")
    return content
