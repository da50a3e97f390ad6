"""Verifies artifacts between stages: every output folder lists the SHA-256 of each of its files.

The list has the format of `sha256sum`, so `sha256sum --check SHA256SUMS` verifies a folder too. An artifact that is a
single file cannot contain its list. It is stored in a folder that the same stage writes.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME = "SHA256SUMS"
PARALLEL_READERS = 4  # hashlib releases the GIL
NAME_COLUMN = 64 + 2  # each line is a SHA-256 in hex, two spaces and the file name
REMEDY = "run the stage that wrote it again"


def write_checksums(folder: Path) -> None:
    """Writes `folder`/SHA256SUMS with every file below the folder, replacing an earlier list."""
    (folder / NAME).write_bytes("".join(f"{line}\n" for line in _compute_lines(folder)).encode())


def verify_checksums(folder: Path) -> None:
    """Compares every file below a folder with `folder`/SHA256SUMS.

    Raises:
        ValueError: a file is changed, missing or not listed, or the list is missing or corrupt.
    """
    try:
        listed = (folder / NAME).read_bytes().decode(errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        raise ValueError(f"{folder / NAME} must list the files of its folder, but is missing; {REMEDY}") from None
    differing = {line[NAME_COLUMN:] for line in set(listed) ^ set(_compute_lines(folder))}
    if differing:
        name = min(differing)
        raise ValueError(f"{folder / name} must match {NAME}, but is corrupt, missing or unlisted; {REMEDY}")


def write_checksum_of_file(file: Path, folder: Path) -> None:
    """Writes the checksum of a file outside the folder to `folder`/STEM.SHA256SUMS."""
    _checksum_path(file, folder).write_text(f"{_sha256(file)}  {file.name}\n")


def verify_checksum_of_file(file: Path, folder: Path) -> None:
    """Compares a file with the checksum that `write_checksum_of_file` wrote.

    Raises:
        FileNotFoundError: the file or its checksum is missing.
        ValueError: the content differs.
    """
    listing = _checksum_path(file, folder)
    if not listing.read_text().startswith(_sha256(file)):
        raise ValueError(f"{file} must match {listing.name}, but is corrupt; {REMEDY}")


def _checksum_path(file: Path, folder: Path) -> Path:
    return folder / f"{file.stem}.{NAME}"


def _compute_lines(folder: Path) -> list[str]:
    """Returns SHA-256 and name of every file except the list itself, sorted by name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name != NAME]
    with ThreadPoolExecutor(PARALLEL_READERS) as pool:
        digests = pool.map(_sha256, (folder / name for name in names))
        return [f"{digest}  {name}" for digest, name in zip(digests, names, strict=True)]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
