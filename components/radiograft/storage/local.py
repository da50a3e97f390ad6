"""Files on disk. A token is the content's SHA-256, compared under a lock that every writer takes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from radiograft.storage.backend import ObjectInfo, changed_error
from radiograft.utils.errors import SensitiveValueError


def exists(uri: str) -> bool:
    """Whether there is a file."""
    return Path(uri).is_file()


def read_bytes(uri: str) -> bytes:
    """The whole content."""
    return Path(uri).read_bytes()


def read_with_token(uri: str) -> tuple[bytes, str]:
    """The whole content and its token."""
    content = Path(uri).read_bytes()
    return content, _token(content)


def open_file(uri: str) -> IO[bytes]:
    """The file, opened for reading."""
    return Path(uri).open("rb")


def write_bytes(uri: str, data: bytes, only_if_absent: bool) -> None:
    """Writes a draft beside the file, which takes its place when it is whole."""
    target = Path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".draft-")
    draft = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.chmod(0o644)
        if only_if_absent:
            os.link(draft, target)  # fails where the target exists, unlike a rename
        else:
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def swap(uri: str, content: bytes, token: str | None) -> None:
    """Replaces the content if it is still the one that `token` stands for."""
    path = Path(uri)
    with _locked(path):
        found = _token(path.read_bytes()) if path.exists() else None
        if found != token:
            raise changed_error(uri)
        write_bytes(uri, content, only_if_absent=False)


def delete(uri: str) -> None:
    """Removes a file."""
    Path(uri).unlink(missing_ok=True)


def list_files(uri: str) -> Iterator[ObjectInfo]:
    """The files below a folder, without those in hidden folders."""
    folder = Path(uri)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    # In a bucket's order, which takes `/` as a letter: the same data give the same catalog.
    yield from sorted(_entries(str(folder)), key=lambda entry: entry.name)


def _entries(folder: str) -> Iterator[ObjectInfo]:
    """The files below a folder; other processes may rename and remove meanwhile."""
    for place, files in _folders(folder):
        below = "" if place == folder else f"{place[len(folder) :].strip('/')}/"
        for name in files:
            path = f"{place.rstrip('/')}/{name}"
            found = _state(path)
            if found and stat.S_ISREG(found.st_mode):
                yield ObjectInfo(_in_utf8(below + name), path, found.st_size, None)


def _state(path: str) -> os.stat_result | None:
    """What the system tells of a file; None where it was removed since, or is a link to itself or nowhere."""
    try:
        return os.stat(path)  # noqa: PTH116  a Path for each of 100,000 files takes longer
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise


def _folders(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Each folder from this one on, with its files' names: first without links, then behind these, and so forth."""
    seen: set[str] = set()
    tops = [folder]
    while tops:
        links: list[str] = []
        for top in sorted(tops):
            real = os.path.realpath(top)
            for place, folders, files in os.walk(top, onerror=_raise_unless_passed_over):
                itself = real + place[len(top) :]
                if itself in seen:
                    folders.clear()
                    continue
                seen.add(itself)
                folders[:] = (name for name in folders if not name.startswith("."))  # where versions are written
                paths = (f"{place.rstrip('/')}/{name}" for name in folders)
                links += filter(os.path.islink, paths)  # which the walk does not enter
                yield place, files
        tops = links


def _in_utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes of another encoding, which neither a table nor a bucket can hold
        asked = "a file's name must be UTF-8, got"
        raise SensitiveValueError(f"{asked} {name!a}; rename it", f"{asked} one of other bytes; rename it") from None
    return name


def _raise_unless_passed_over(error: OSError) -> None:
    is_lost_and_found = Path(str(error.filename)).name == "lost+found"  # root's own on a mounted volume
    if not isinstance(error, FileNotFoundError) and not is_lost_and_found:
        raise error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:  # never removed: two writers must lock one file
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _token(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
