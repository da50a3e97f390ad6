"""Files by URI, on disk or in Google Cloud Storage, with writes that never replace and never show half a file.

`gs://radiograft-embedded/...` is the embedded object store that `radiograft run` starts on loopback; every other bucket
is the real one. No credentials are read for the embedded store.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from google.cloud import storage

EMBEDDED_BUCKET = "radiograft-embedded"
EMBEDDED_ENDPOINT_VARIABLE = "RADIOGRAFT_EMBEDDED_STORE"
PARALLEL_TRANSFERS = 8
READ_AHEAD = 2**22  # bytes that an open object fetches at a time


class Entry(NamedTuple):
    """A stored file: name relative to what was listed, URI, size in bytes, MD5 in hex where the store knows it."""

    name: str
    uri: str
    size: int
    md5: str | None


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
    return uri.startswith("gs://")


def exists(uri: str) -> bool:
    """Whether a file (not a folder) is there."""
    return bool(_blob(uri).exists()) if is_bucket(uri) else Path(uri).is_file()


def read_bytes(uri: str) -> bytes:
    """The whole content of a file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not is_bucket(uri):
        return Path(uri).read_bytes()
    from google.api_core.exceptions import NotFound

    try:
        return bytes(_blob(uri).download_as_bytes())
    except NotFound:
        raise FileNotFoundError(f"no such object: {uri}") from None


def open_file(uri: str) -> IO[bytes]:
    """A file opened for reading at any place; of an object only what is read is fetched, all from one version.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not is_bucket(uri):
        return Path(uri).open("rb")
    from google.api_core.exceptions import NotFound

    blob = _blob(uri)
    try:
        blob.reload()
    except NotFound:
        raise FileNotFoundError(f"no such object: {uri}") from None
    return cast(IO[bytes], blob.open("rb", chunk_size=READ_AHEAD))


def write_bytes(uri: str, data: bytes, *, only_if_absent: bool = False) -> None:
    """Writes a whole file at once: a reader sees the old content, the new one or none, never a part.

    Raises:
        FileExistsError: with `only_if_absent`, when the file exists; of racing writers exactly one succeeds.
    """
    if is_bucket(uri):
        _upload(uri, data, only_if_absent)
        return
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


def delete(uri: str) -> None:
    """Removes a file; one that is not there (any more) is no error."""
    if not is_bucket(uri):
        Path(uri).unlink(missing_ok=True)
        return
    from google.api_core.exceptions import NotFound

    with contextlib.suppress(NotFound):
        _blob(uri).delete()


def list_files(uri: str) -> Iterator[Entry]:
    """Every file below a folder or prefix, at any depth, in order of name; hidden local files are passed over.

    Raises:
        FileNotFoundError: a local folder that does not exist.
    """
    return _list_blobs(uri) if is_bucket(uri) else _walk(Path(uri))


def upload_tree(folder: Path, uri: str) -> None:
    """Copies every file below a local folder to the same names below `uri`, several at a time."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]

    def copy(path: Path) -> None:
        write_bytes(join(uri, path.relative_to(folder).as_posix()), path.read_bytes())

    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        for _ in pool.map(copy, files):
            pass


def download(uri: str, path: Path) -> None:
    """Copies one file to a local path, which appears only when complete."""
    write_bytes(str(path), read_bytes(uri))


def with_md5(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Fills in the MD5s that the store does not know, reading those files only, several at a time, order kept."""

    def fill(entry: Entry) -> Entry:
        if entry.md5 is not None:
            return entry
        return entry._replace(md5=hashlib.md5(read_bytes(entry.uri), usedforsecurity=False).hexdigest())

    with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
        yield from pool.map(fill, entries)


def _walk(folder: Path) -> Iterator[Entry]:
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in names:  # in a bucket's order, which takes `/` as a letter: the same data give the same catalogue
        if not any(part.startswith(".") for part in name.split("/")):
            path = folder / name
            yield Entry(name, str(path), path.stat().st_size, None)


def _list_blobs(uri: str) -> Iterator[Entry]:
    bucket, prefix = _split(uri.rstrip("/") + "/")
    for blob in _client(bucket).list_blobs(bucket, prefix=prefix):
        if not blob.name.endswith("/"):  # a browser's folder placeholder
            md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
            yield Entry(blob.name[len(prefix) :], f"gs://{bucket}/{blob.name}", int(blob.size), md5)


def _upload(uri: str, data: bytes, only_if_absent: bool) -> None:
    from google.api_core.exceptions import PreconditionFailed

    try:
        _blob(uri).upload_from_string(
            data, content_type="application/octet-stream", if_generation_match=0 if only_if_absent else None
        )
    except PreconditionFailed:
        raise FileExistsError(f"object exists already: {uri}") from None


def _split(uri: str) -> tuple[str, str]:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if not bucket:
        raise ValueError(f"a gs:// URI must name a bucket, got {uri!r}")
    return bucket, name


def _blob(uri: str) -> storage.Blob:
    bucket, name = _split(uri)
    return _client(bucket).bucket(bucket).blob(name)


def _client(bucket: str) -> storage.Client:
    if bucket != EMBEDDED_BUCKET:
        return _client_at(None)
    endpoint = os.environ.get(EMBEDDED_ENDPOINT_VARIABLE)
    if not endpoint:
        raise ConnectionError(
            f"gs://{EMBEDDED_BUCKET} is there only while `radiograft run` runs; its files lie under OUT/store"
        )
    return _client_at(endpoint)


@functools.lru_cache(maxsize=8)
def _client_at(endpoint: str | None) -> storage.Client:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import storage

    if endpoint is None:
        return storage.Client()
    return storage.Client(
        project="radiograft", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
    )
