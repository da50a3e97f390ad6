"""Reads members of zip archives that programs write without compression: PyTorch's checkpoints and Keras's models."""

from __future__ import annotations

import contextlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

ZIP_START = b"PK"
# zipfile raises RuntimeError for unsupported features, and ValueError for invalid names and positions.
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, struct.error, ValueError)


@contextlib.contextmanager
def explain_errors() -> Iterator[None]:
    """Raises the errors of zipfile as ValueError."""
    try:
        yield
    except _ZIP_ERRORS as error:
        raise ValueError(f"the zip archive is corrupt: {error}") from error


def open_members(content: io.BytesIO) -> zipfile.ZipFile:
    """Opens an archive.

    Raises:
        ValueError: the archive is corrupt, or its members overlap.
    """
    with explain_errors():
        zipped = zipfile.ZipFile(content)
    total, size = sum(member.compress_size for member in zipped.infolist()), content.getbuffer().nbytes
    if total > size:  # many members could share the same bytes and become arrays of any size
        raise ValueError(f"the members of a weight file must not overlap, got {total} bytes in a file of {size}")
    return zipped


def read_member(zipped: zipfile.ZipFile, name: str) -> bytes:
    """Reads a member.

    Raises:
        ValueError: the member is missing, compressed or corrupt.
    """
    try:
        member = zipped.getinfo(name)
    except KeyError as error:
        raise ValueError(f"the archive must have the member {name!r:.80}; is the file whole?") from error
    if member.compress_type != zipfile.ZIP_STORED:  # a small file could grow to any size
        raise ValueError(f"the member {name!r:.80} must not be compressed; save the file with PyTorch or Keras again")
    with explain_errors():
        return zipped.read(member)


def member_names(path: Path) -> list[str]:
    """Returns the names of a zip archive's members; none if the file is not an archive."""
    try:
        with zipfile.ZipFile(path) as zipped:
            return zipped.namelist()
    except _ZIP_ERRORS:
        return []
