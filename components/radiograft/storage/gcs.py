"""Objects in Google Cloud Storage or the embedded store. A token is an object's generation, which the store compares.

The client compares CRC32C or MD5 of all that goes up or comes down. A request is repeated as `patience` says when the
store is busy or the line breaks.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import IO, Any

from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    GoogleAPIError,
    NotFound,
    PreconditionFailed,
    Unauthorized,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from requests.exceptions import ChunkedEncodingError, RequestException, Timeout
from requests.exceptions import ConnectionError as NoConnectionError

from radiograft.storage import backend, range_reader, retry
from radiograft.storage.backend import EMBEDDED_BUCKET, EMBEDDED_ENDPOINT_VARIABLE, Answer, ObjectInfo, StorageError

TRANSIENT_ERRORS = (NoConnectionError, Timeout, ChunkedEncodingError, ConnectionError, TransportError)


def exists(uri: str) -> bool:
    """Whether there is an object."""
    return bool(send(uri, lambda **once: _blob(uri).exists(**once)))


def read_bytes(uri: str) -> bytes:
    """The whole content."""
    return backend.read_verified(lambda: send(uri, lambda **once: bytes(_blob(uri).download_as_bytes(**once))))


def read_with_token(uri: str) -> tuple[bytes, str]:
    """The whole content and its token."""
    while True:
        with contextlib.suppress(PreconditionFailed):  # replaced between the two requests
            return backend.read_verified(lambda: send(uri, lambda **once: _read_generation(_blob(uri), once)))


def open_file(uri: str) -> IO[bytes]:
    """A reader of one generation."""
    blob = send(uri, lambda **once: _known(_blob(uri), once))

    def fetch(first: int, last: int) -> bytes:
        return send(uri, lambda **once: bytes(blob.download_as_bytes(start=first, end=last, **once)))

    return range_reader.open_ranges(uri, int(blob.size), fetch)


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
        raise backend.changed_error(uri) from None


def delete(uri: str) -> None:
    """Removes an object."""
    with contextlib.suppress(FileNotFoundError):
        send(uri, lambda **once: _blob(uri).delete(**once))


def list_files(uri: str) -> Iterator[ObjectInfo]:
    """The objects below a prefix."""
    bucket, prefix = backend.split_uri(uri.rstrip("/") + "/")
    for blob in send(uri, lambda **once: list(_client(bucket).list_blobs(bucket, prefix=prefix, **once))):
        if not blob.name.endswith("/"):  # a browser's folder placeholder
            md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
            yield ObjectInfo(blob.name[len(prefix) :], f"gs://{bucket}/{blob.name}", int(blob.size), md5)


def _known(blob: storage.Blob, once: dict[str, Any]) -> storage.Blob:
    blob.reload(**once)  # learns its generation
    return blob


def _read_generation(blob: storage.Blob, once: dict[str, Any]) -> tuple[bytes, str]:
    _known(blob, once)
    return blob.download_as_bytes(if_generation_match=blob.generation, **once), str(blob.generation)


def _upload(uri: str, data: bytes, generation: int | None) -> None:
    wanted = {"content_type": "application/octet-stream", "if_generation_match": generation}
    send(uri, lambda **once: _blob(uri).upload_from_string(data, **wanted, **once))


def send(uri: str, request: Callable[..., Answer]) -> Answer:
    """Makes a request, which is given the client's settings for a single one, as often as `patience` says."""
    with translate_errors(uri):
        return retry.call_with_retry(lambda: request(retry=None, timeout=_timeout()), is_retryable)


def _timeout() -> tuple[float, float]:
    return retry.CONNECT_TIMEOUT, retry.READ_TIMEOUT


def is_retryable(error: Exception) -> bool:
    if isinstance(error, InvalidResponse):  # as a reader of parts raises it
        return error.response.status_code in retry.RETRYABLE_STATUS_CODES
    if isinstance(error, GoogleAPICallError):
        return (
            error.code in retry.RETRYABLE_STATUS_CODES and "no space left" not in error.message
        )  # on the embedded store's disk
    return isinstance(error, TRANSIENT_ERRORS)


@contextlib.contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Says in one sentence what is wrong; a precondition that failed is the caller's to tell."""
    bucket = f"gs://{backend.split_uri(uri)[0]}"
    try:
        yield
    except PreconditionFailed:
        raise
    except NotFound as error:
        if "bucket does not exist" in error.message:
            raise StorageError(f"there is no bucket {bucket}, asked for {uri}") from None
        raise backend.missing_error(uri) from None
    except DataCorruption as error:
        raise backend.ChecksumError(f"{uri} is damaged: {error}") from None
    except (Unauthorized, Forbidden, GoogleAuthError) as error:
        raise StorageError(
            f"{bucket} lets nobody in with these credentials: {error}; log in with `gcloud auth application-default "
            "login`, or give the service account rights on the bucket"
        ) from None
    except (GoogleAPIError, RequestException, InvalidResponse, ConnectionError) as error:
        raise StorageError(f"{bucket} does not answer as it should: {error}") from None


def _blob(uri: str) -> storage.Blob:
    bucket, name = backend.split_uri(uri)
    return _client(bucket).bucket(bucket).blob(name)


def _client(bucket: str) -> storage.Client:
    if bucket != EMBEDDED_BUCKET:
        return _client_at(None)
    endpoint = os.environ.get(EMBEDDED_ENDPOINT_VARIABLE)
    if not endpoint:
        raise StorageError(
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
