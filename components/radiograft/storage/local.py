"""Storage backend for local files. The token is the SHA-256 of the content, compared while holding a file lock."""

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
    """Returns whether a file exists."""
    return Path(uri).is_file()


def read_bytes(uri: str) -> bytes:
    """Reads a whole file."""
    file = os.open(uri, os.O_RDONLY)  # a third of the time of a Path and a file object for a small file
    try:
        size = os.fstat(file).st_size
        content = os.read(file, size + 1)
        if 0 < len(content) == size:  # less than was requested: the end
            return content
        while more := os.read(file, max(len(content), 1)):  # of a file beyond 2 GB, or one that grows
            content += more
        return content
    finally:
        os.close(file)


def read_with_token(uri: str) -> tuple[bytes, str]:
    """Reads a whole file and its token."""
    content = Path(uri).read_bytes()
    return content, _token(content)


def open_file(uri: str) -> IO[bytes]:
    """Opens a file for reading."""
    return Path(uri).open("rb")


def write_bytes(uri: str, data: bytes, only_if_absent: bool) -> None:
    """Writes a temporary file in the same folder and renames it."""
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
            os.link(draft, target)  # unlike a rename, fails if the target exists
        else:
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def swap(uri: str, content: bytes, token: str | None) -> None:
    """Replaces a file if its token is still current."""
    path = Path(uri)
    with _locked(path):
        current = _token(path.read_bytes()) if path.exists() else None
        if current != token:
            raise changed_error(uri)
        write_bytes(uri, content, only_if_absent=False)


def delete(uri: str) -> None:
    """Deletes a file."""
    Path(uri).unlink(missing_ok=True)


def list_files(uri: str, hidden: bool = False) -> Iterator[ObjectInfo]:
    """Lists the files below a folder; those in hidden folders only if `hidden` is set."""
    folder = Path(uri)
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    # Sorted by the whole name, as buckets do, so that the same data result in the same catalog.
    yield from sorted(_iter_entries(str(folder), hidden), key=lambda entry: entry.name)


def _iter_entries(folder: str, hidden: bool) -> Iterator[ObjectInfo]:
    """Yields the files below a folder; with `hidden` also links to missing files. Files may be renamed meanwhile."""
    for parent, names in _walk_folders(folder, hidden):
        prefix = "" if parent == folder else f"{parent[len(folder) :].strip('/')}/"
        for name in names:
            path = f"{parent.rstrip('/')}/{name}"
            status = _stat(path)
            if status and stat.S_ISREG(status.st_mode):
                yield ObjectInfo(_require_utf8(prefix + name), path, status.st_size, None)
            elif hidden and status is None and os.path.islink(path):  # noqa: PTH114  as in `_stat`
                yield ObjectInfo(_require_utf8(prefix + name), path, 0, None)


def _stat(path: str) -> os.stat_result | None:
    """Returns the status of a file; None if it was deleted or is a broken or circular link."""
    try:
        return os.stat(path)  # noqa: PTH116  creating a Path for each of 100,000 files is slower
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise


def _walk_folders(folder: str, hidden: bool) -> Iterator[tuple[str, list[str]]]:
    """Yields each folder once, with the names of its files.

    Folders are visited breadth first by the number of links on their path: first those without links, then those behind
    one link, and so on.
    """
    visited: set[str] = set()
    roots = [folder]
    while roots:
        links: list[str] = []
        for root in sorted(roots):
            real_root = os.path.realpath(root)
            for parent, folders, files in os.walk(root, onerror=_raise_unless_ignored):
                real_parent = real_root + parent[len(root) :]
                if real_parent in visited:
                    folders.clear()
                    continue
                visited.add(real_parent)
                if not hidden:
                    folders[:] = (name for name in folders if not name.startswith("."))  # drafts of versions
                paths = (f"{parent.rstrip('/')}/{name}" for name in folders)
                links += filter(os.path.islink, paths)  # os.walk does not follow them
                yield parent, files
        roots = links


def _require_utf8(name: str) -> str:
    try:
        name.encode()
    except UnicodeEncodeError:  # neither a table nor a bucket can store other encodings
        constraint = "file names must be valid UTF-8, got"
        raise SensitiveValueError(f"{constraint} {name!a}; rename it", f"{constraint} other bytes; rename it") from None
    return name


def _raise_unless_ignored(error: OSError) -> None:
    name = Path(str(error.filename)).name  # folders of the system belong to root on a mounted volume
    if not isinstance(error, FileNotFoundError) and name != "lost+found" and not name.startswith("."):
        raise error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("w") as lock:  # never deleted: all writers must lock the same file
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _token(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
