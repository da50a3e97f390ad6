"""Reads and writes files by URI: local paths, Google Cloud Storage (`gs://`) and S3 (`s3://`); reads DICOMweb services.

All backends give the same guarantees. Writes are atomic: readers never see part of a file. Writes can refuse to replace
an existing file. Transfers are verified by checksum.

`gs://radiograft-embedded/...` is the embedded object store that `radiograft run` starts on loopback; no credentials are
read for it. Every other bucket is a real one.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple

from radiograft.storage.backend import (
    EMBEDDED_BUCKET,
    EMBEDDED_ENDPOINT_VARIABLE,
    UNKNOWN_SIZE,
    ObjectInfo,
    StorageBackend,
    StorageError,
    TooLargeError,
)
from radiograft.storage.dicomweb_uri import is_dicomweb

__all__ = [
    "EMBEDDED_BUCKET", "EMBEDDED_ENDPOINT_VARIABLE", "UNKNOWN_SIZE", "ObjectInfo", "StorageError", "TooLargeError",
    "is_dicomweb",
]  # fmt: skip
PARALLEL_TRANSFERS = 8
FILES_PER_TASK = 32  # handing one small file to a thread takes longer than reading it


def join(base: str, *names: str) -> str:
    """Returns the URI of a file below `base`.

    Example:
        >>> join("gs://bucket/data/", "images", "1.png")
        'gs://bucket/data/images/1.png'

    Raises:
        ValueError: a name is empty, absolute or leads out of `base`.
    """
    for name in names:
        if not name or name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ValueError(f"a file name must stay inside {base}, got {name!r}")
    return "/".join([base.rstrip("/"), *names])


def is_bucket(uri: str) -> bool:
    """Returns whether a URI names an object store rather than a local path or a DICOMweb service."""
    return uri.startswith(("gs://", "s3://"))


def is_remote(uri: str) -> bool:
    """Returns whether a URI names an object store or a DICOMweb service."""
    return is_bucket(uri) or is_dicomweb(uri)


def backend_for(uri: str) -> StorageBackend:
    """Returns the backend of a URI. Client libraries load slowly, so each backend is imported on first use."""
    if uri.startswith("gs://"):
        from radiograft.storage import gcs

        return gcs
    if uri.startswith("s3://"):
        from radiograft.storage import s3

        return s3
    if is_dicomweb(uri):
        from radiograft.storage import dicomweb

        return dicomweb
    from radiograft.storage import local

    return local


def exists(uri: str) -> bool:
    """Returns whether a file exists at the URI; False for a folder.

    Raises:
        StorageError: the object store cannot be used. This holds for every function here.
    """
    return backend_for(uri).exists(uri)


def read_bytes(uri: str) -> bytes:
    """Reads a whole file.

    Raises:
        FileNotFoundError: the file does not exist.
        StorageError: the content does not match the checksum of the object store.
    """
    return backend_for(uri).read_bytes(uri)


def open_file(uri: str) -> IO[bytes]:
    """Opens a file for random access. Of an object, only the ranges that are read are fetched, all from one version.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    return backend_for(uri).open_file(uri)


def write_bytes(uri: str, data: bytes, *, only_if_absent: bool = False) -> None:
    """Writes a whole file atomically.

    Args:
        only_if_absent: do not replace an existing file. Exactly one of several concurrent writers succeeds.

    Raises:
        FileExistsError: with `only_if_absent`, if the file exists.
    """
    backend_for(uri).write_bytes(uri, data, only_if_absent)


def delete(uri: str) -> None:
    """Deletes a file. A missing file is not an error."""
    backend_for(uri).delete(uri)


def delete_tree(uri: str) -> None:
    """Deletes every file below a folder or prefix, including hidden ones; on disk, the folder as well.

    A missing folder is not an error. The parent folder is kept even if it is empty, because another process may be
    about to write to it.
    """
    if is_remote(uri):
        for entry in list(backend_for(uri).list_files(uri)):
            delete(entry.uri)
    else:
        shutil.rmtree(uri, onerror=_raise_unless_missing)


def _raise_unless_missing(_: object, _path: str, failure: tuple[type[BaseException], BaseException, object]) -> None:
    """Ignores files that another process deleted at the same time."""
    if not isinstance(failure[1], FileNotFoundError):
        raise failure[1]


def list_files(uri: str, *, hidden: bool = False) -> Iterator[ObjectInfo]:
    """Lists every file below a folder or prefix, at any depth, sorted by name.

    On disk, symbolic links are followed, and each folder is listed once: by the path with the fewest links, then by the
    first in order.

    Args:
        hidden: whether to include hidden files, those with a path component below the folder that starts with a dot;
            on disk also links to missing files, which cannot be read.

    Raises:
        FileNotFoundError: a local folder does not exist.
        SensitiveValueError: the name of a local file is not valid UTF-8.
    """
    if hidden and not is_remote(uri):
        from radiograft.storage import local

        return local.list_files(uri, hidden=True)
    return (entry for entry in backend_for(uri).list_files(uri) if hidden or not is_hidden(entry.name))


def is_hidden(name: str) -> bool:
    """Returns whether a component of a path starts with a dot.

    Example:
        >>> is_hidden("images/.git/x.png"), is_hidden("images/x.png")
        (True, False)
    """
    return "/." in f"/{name}"


def upload_tree(folder: Path, uri: str) -> None:
    """Copies every file below a local folder to the same relative path below `uri`, in parallel."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    upload_files({path.relative_to(folder).as_posix(): path for path in paths}, uri)


def upload_files(files: Mapping[str, Path], uri: str) -> None:
    """Copies local files to the names below `uri` by which they are given, in parallel."""

    def copy(name: str) -> None:
        write_bytes(join(uri, name), files[name].read_bytes())

    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        for _ in pool.map(copy, files):
            pass


def is_missing(error: OSError) -> bool:
    """Returns whether reading failed because the file was deleted, or is a link to a missing file or to itself."""
    return isinstance(error, FileNotFoundError) or error.errno == errno.ELOOP


def with_md5(entries: Iterable[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Fills in missing MD5 hashes by reading those files in parallel. The order is kept.

    A file that was deleted after it was listed is omitted.
    """

    def fill(entry: ObjectInfo) -> ObjectInfo | None:
        if entry.md5 is not None:
            return entry
        try:
            digest = hashlib.md5(read_bytes(entry.uri), usedforsecurity=False).hexdigest()
        except OSError as error:
            if is_missing(error):
                return None
            raise
        return ObjectInfo(entry.name, entry.uri, entry.size, digest)

    stream = iter(entries)
    batches = iter(lambda: list(itertools.islice(stream, FILES_PER_TASK)), [])
    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        for batch in pool.map(lambda batch: [fill(entry) for entry in batch], batches):
            yield from filter(None, batch)


class VersionedContent(NamedTuple):
    """The content of a file and its token, for a compare-and-swap by several processes.

    In `gs://` the token is the object's generation. In `s3://` and on disk it is a content hash, so an A-B-A change
    is not detected: write append-only content.
    """

    content: bytes
    token: str


def read_versioned(uri: str) -> VersionedContent:
    """Reads a file with its token.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    return VersionedContent(*backend_for(uri).read_with_token(uri))


def swap_content(uri: str, content: bytes, token: str | None) -> None:
    """Replaces a file if its token is still current. Exactly one of several writers with the same token succeeds.

    Args:
        content: must be unique to this writer, for example by an id or a time. A retry after a lost response recognizes
            its own write by it.
        token: from `read_versioned`; None if the file did not exist.

    Raises:
        FileExistsError: the file changed or was created since.
    """
    try:
        backend_for(uri).swap(uri, content, token)
    except FileExistsError:
        if not _has_content(uri, content):
            raise


def _has_content(uri: str, content: bytes) -> bool:
    """Returns whether the file has this content: a retry after a lost response finds its own write."""
    try:
        return read_versioned(uri).content == content
    except FileNotFoundError:
        return False
