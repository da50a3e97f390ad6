"""Files by URI, on disk (a path), in Google Cloud Storage (`gs://`) or in S3 (`s3://`), with the same promises in each:
writes never replace when told so, and never show half a file; what came up or down damaged is not taken.

`gs://radiograft-embedded/...` is the embedded object store that `radiograft run` starts on loopback; every other bucket
is the real one. No credentials are read for the embedded store.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import itertools
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, cast

from radiograft.storage.backend import (
    EMBEDDED_BUCKET,
    EMBEDDED_ENDPOINT_VARIABLE,
    ObjectInfo,
    StorageBackend,
    StorageError,
)

__all__ = ["EMBEDDED_BUCKET", "EMBEDDED_ENDPOINT_VARIABLE", "ObjectInfo", "StorageError"]
BUCKETS = {"gs://": "gcs", "s3://": "s3"}
PARALLEL_TRANSFERS = 8
FILES_PER_TASK = 16  # to hand over one small file takes longer than to read it


def join(base: str, *names: str) -> str:
    """The URI of a file below `base`.

    Raises:
        ValueError: a name is absolute or climbs out of `base`.
    """
    for name in names:
        if not name or name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ValueError(f"a file name must stay inside {base}, got {name!r}")
    return "/".join([base.rstrip("/"), *names])


def is_bucket(uri: str) -> bool:
    """Whether `uri` names an object store rather than a local path."""
    return uri.startswith(tuple(BUCKETS))


def backend_for(uri: str) -> StorageBackend:
    """The module that serves a URI; it brings its client library, so it is imported when it is needed."""
    name = next((name for scheme, name in BUCKETS.items() if uri.startswith(scheme)), "local")
    return cast(StorageBackend, importlib.import_module(f"{__name__}.{name}"))


def exists(uri: str) -> bool:
    """Whether a file (not a folder) is there.

    Raises:
        StoreError: the object store cannot be used; so every function here.
    """
    return backend_for(uri).exists(uri)


def read_bytes(uri: str) -> bytes:
    """The whole content of a file.

    Raises:
        FileNotFoundError: there is no such file.
        StoreError: the content is damaged, as far as the store knows a checksum.
    """
    return backend_for(uri).read_bytes(uri)


def open_file(uri: str) -> IO[bytes]:
    """A file opened for reading at any place; of an object only what is read is fetched, all from one version.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return backend_for(uri).open_file(uri)


def write_bytes(uri: str, data: bytes, *, only_if_absent: bool = False) -> None:
    """Writes a whole file at once: a reader sees the old content, the new one or none, never a part.

    Raises:
        FileExistsError: with `only_if_absent`, when the file exists; of racing writers exactly one succeeds.
    """
    backend_for(uri).write_bytes(uri, data, only_if_absent)


def delete(uri: str) -> None:
    """Removes a file; one that is not there (any more) is no error."""
    backend_for(uri).delete(uri)


def delete_tree(uri: str) -> None:
    """Removes every file below a folder or prefix, which may be missing; on disk the folder goes too.

    The one above it stays, also if it is empty then: another process may be about to write there.
    """
    if is_bucket(uri):
        for entry in list(backend_for(uri).list_files(uri)):  # the hidden ones too
            delete(entry.uri)
    else:
        shutil.rmtree(uri, onerror=_raise_unless_gone)


def _raise_unless_gone(_: object, _path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
    """Another process may remove the same tree at the same time."""
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]


def list_files(uri: str) -> Iterator[ObjectInfo]:
    """Every file below a folder or prefix, at any depth, in order of name.

    Passed over is what is hidden, that is, of which a part of the name below the folder begins with a dot. Links on
    disk are followed, each folder once: by the path with the fewest links, of several the first in order of name.

    Raises:
        FileNotFoundError: a local folder that does not exist.
        NamingError: the name of a local file is not UTF-8.
    """
    return (entry for entry in backend_for(uri).list_files(uri) if not is_hidden(entry.name))


def is_hidden(name: str) -> bool:
    """Whether a part of a path begins with a dot."""
    return "/." in f"/{name}"


def upload_tree(folder: Path, uri: str) -> None:
    """Copies every file below a local folder to the same names below `uri`, several at a time."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]

    def copy(path: Path) -> None:
        write_bytes(join(uri, path.relative_to(folder).as_posix()), path.read_bytes())

    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        for _ in pool.map(copy, files):
            pass


def with_md5(entries: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Fills in the MD5s that the store does not know, reading those files only, several at a time, order kept.

    A file that is gone since it was listed is passed over, as if it had been listed later.
    """

    def fill(entry: ObjectInfo) -> ObjectInfo | None:
        if entry.md5 is not None:
            return entry
        with contextlib.suppress(FileNotFoundError):
            return entry._replace(md5=hashlib.md5(read_bytes(entry.uri), usedforsecurity=False).hexdigest())
        return None

    stream = iter(entries)
    some = iter(lambda: list(itertools.islice(stream, FILES_PER_TASK)), [])
    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        for filled in pool.map(lambda part: [fill(entry) for entry in part], some):
            yield from filter(None, filled)
