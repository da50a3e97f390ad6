"""What one stage hands to the next arrives whole: every output folder names the SHA-256 of each of its files.

The list is as `sha256sum` writes it, so `sha256sum --check SHA256SUMS` in the folder says the same. An artifact that is
a single file has no place for one: a folder of the same stage lists it.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

NAME = "SHA256SUMS"
PARALLEL_READERS = 4  # hashlib lets go of Python's lock
BEFORE_NAME = 64 + 2  # digits and spaces of a line
REMEDY = "run the stage that wrote it again"


def write_checksums(folder: Path) -> None:
    """Lists every file below a folder in `folder`/SHA256SUMS, replacing an earlier list."""
    (folder / NAME).write_bytes("".join(f"{line}\n" for line in _lines(folder)).encode())


def verify_checksums(folder: Path) -> None:
    """Compares every file below a folder with its list.

    Raises:
        ValueError: a file is another one, is gone or is not in the list; there is no list, or it is damaged.
    """
    try:
        listed = (folder / NAME).read_bytes().decode(errors="replace").split("\n")[:-1]
    except FileNotFoundError:
        raise ValueError(f"{folder / NAME} must list the files beside it, and is not there; {REMEDY}") from None
    differing = {line[BEFORE_NAME:] for line in set(listed) ^ set(_lines(folder))}
    if differing:
        name = min(differing)
        raise ValueError(f"{folder / name} must be as {NAME} lists it, but was damaged or is gone; {REMEDY}")


def write_checksum_of_file(file: Path, folder: Path) -> None:
    """Lists a file in `folder`/STEM.SHA256SUMS, which `write` then lists itself."""
    _beside(file, folder).write_text(f"{_digest(file)}  {file.name}\n")


def verify_checksum_of_file(file: Path, folder: Path) -> None:
    """Compares a file with what `write_beside` listed.

    Raises:
        FileNotFoundError: the file or its list is gone.
        ValueError: it is another one.
    """
    listing = _beside(file, folder)
    if not listing.read_text().startswith(_digest(file)):
        raise ValueError(f"{file} must be as {listing.name} lists it, but was damaged; {REMEDY}")


def _beside(file: Path, folder: Path) -> Path:
    return folder / f"{file.stem}.{NAME}"


def _lines(folder: Path) -> list[str]:
    """SHA-256 and name of all files but the list itself, in order of name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if name != NAME]
    with ThreadPoolExecutor(PARALLEL_READERS) as pool:
        digests = pool.map(_digest, (folder / name for name in names))
        return [f"{digest}  {name}" for digest, name in zip(digests, names, strict=True)]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
