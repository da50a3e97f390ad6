"""Objects in Google Cloud Storage or the embedded store. A token is an object's generation, which the store compares.

The client compares CRC32C or MD5 of all that goes up or comes down, and repeats a request with growing pauses for two
minutes when the store is busy or the line breaks.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
from collections.abc import Iterator
from typing import IO, cast

from google.api_core.exceptions import Forbidden, GoogleAPIError, NotFound, PreconditionFailed, Unauthorized
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from components.storage import contract
from components.storage.contract import EMBEDDED_BUCKET, EMBEDDED_ENDPOINT_VARIABLE, Entry, StoreError


def exists(uri: str) -> bool:
    """Whether there is an object."""
    with _told(uri):
        return bool(_blob(uri).exists())


def read_bytes(uri: str) -> bytes:
    """The whole content."""
    with _told(uri):
        return contract.whole(lambda: bytes(_blob(uri).download_as_bytes()), (DataCorruption,))


def read_with_token(uri: str) -> tuple[bytes, str]:
    """The whole content and its token."""
    while True:
        with contextlib.suppress(PreconditionFailed), _told(uri):  # replaced between the two requests
            return contract.whole(lambda: _read_generation(_blob(uri)), (DataCorruption,))


def open_file(uri: str) -> IO[bytes]:
    """A reader of one generation."""
    with _told(uri):
        found = _blob(uri)
        found.reload()
    return cast(IO[bytes], found.open("rb", chunk_size=contract.READ_AHEAD))


def write_bytes(uri: str, data: bytes, only_if_absent: bool) -> None:
    """Writes an object."""
    try:
        _upload(uri, data, 0 if only_if_absent else None)
    except PreconditionFailed:
        raise FileExistsError(f"object exists already: {uri}") from None


def swap(uri: str, content: bytes, token: str | None) -> None:
    """Replaces the content if it is still the one that `token` stands for."""
    try:
        _upload(uri, content, int(token or 0))  # 0: no object
    except (FileNotFoundError, PreconditionFailed):
        raise contract.changed(uri) from None


def delete(uri: str) -> None:
    """Removes an object."""
    with contextlib.suppress(FileNotFoundError), _told(uri):
        _blob(uri).delete()


def list_files(uri: str) -> Iterator[Entry]:
    """The objects below a prefix."""
    bucket, prefix = contract.split(uri.rstrip("/") + "/")
    with _told(uri):
        for blob in _client(bucket).list_blobs(bucket, prefix=prefix):
            if not blob.name.endswith("/"):  # a browser's folder placeholder
                md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
                yield Entry(blob.name[len(prefix) :], f"gs://{bucket}/{blob.name}", int(blob.size), md5)


def _read_generation(blob: storage.Blob) -> tuple[bytes, str]:
    blob.reload()
    return blob.download_as_bytes(if_generation_match=blob.generation), str(blob.generation)


def _upload(uri: str, data: bytes, generation: int | None) -> None:
    with _told(uri):
        _blob(uri).upload_from_string(data, content_type="application/octet-stream", if_generation_match=generation)


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    """Says in one sentence what is wrong; a precondition that failed is the caller's to tell."""
    bucket = f"gs://{contract.split(uri)[0]}"
    try:
        yield
    except PreconditionFailed:
        raise
    except NotFound as error:
        if "bucket does not exist" in error.message:
            raise StoreError(f"there is no bucket {bucket}, asked for {uri}") from None
        raise contract.missing(uri) from None
    except DataCorruption as error:
        raise StoreError(f"{uri} is damaged: {error}") from None
    except (Unauthorized, Forbidden, GoogleAuthError) as error:
        raise StoreError(
            f"{bucket} lets nobody in with these credentials: {error}; log in with `gcloud auth application-default "
            "login`, or give the service account rights on the bucket"
        ) from None
    except GoogleAPIError as error:
        raise StoreError(f"{bucket} does not answer as it should: {error}") from None


def _blob(uri: str) -> storage.Blob:
    bucket, name = contract.split(uri)
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
    if endpoint is None:
        return storage.Client()
    return storage.Client(
        project="radiograft", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
    )
