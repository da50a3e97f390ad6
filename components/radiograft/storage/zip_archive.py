"""Reads .zip archives."""

from __future__ import annotations

import contextlib
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial

from radiograft import storage
from radiograft.storage.archive_entry import MAX_MEMBERS, Entry

# zipfile raises RuntimeError for a password and NotImplementedError, a RuntimeError, for an unknown compression.
CORRUPTION_ERRORS = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, UnicodeDecodeError)


@contextlib.contextmanager
def open_entries(uri: str) -> Iterator[Iterator[Entry]]:
    """Yields the files of an archive in stored order.

    Raises:
        FileNotFoundError: the archive does not exist.
        ValueError: the archive is truncated, corrupt or encrypted. The message does not quote zipfile, which names
            members.
    """
    with storage.open_file(uri) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield _iter_files(archive)
        except CORRUPTION_ERRORS as error:
            raise ValueError(
                f"{uri} must be a complete .zip archive without a password, got a corrupt or encrypted one; "
                "download it again"
            ) from error


def _iter_files(archive: zipfile.ZipFile) -> Iterator[Entry]:
    members = archive.infolist()
    if len(members) > MAX_MEMBERS or any(member.header_offset < 0 for member in members):  # zipfile would seek to it
        raise zipfile.BadZipFile
    for number, member in enumerate(members):
        if not member.is_dir():
            yield Entry(number, member.filename, member.file_size, partial(archive.read, member))
