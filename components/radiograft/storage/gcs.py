"""Storage backend for Google Cloud Storage and the embedded object store. The token is an object's generation.

The client verifies CRC32C or MD5 of every upload and download. Requests are retried by the policy in `retry`.
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

from radiograft.storage import backend, retry
from radiograft.storage.backend import EMBEDDED_BUCKET, EMBEDDED_ENDPOINT_VARIABLE, Answer, ObjectInfo, StorageError

TRANSIENT_ERRORS = (NoConnectionError, Timeout, ChunkedEncodingError, ConnectionError, TransportError)


def exists(uri: str) -> bool:
    """Returns whether an object exists."""
    return bool(send(uri, lambda **once: _blob(uri).exists(**once)))


def read_bytes(uri: str) -> bytes:
    """Reads a whole object."""
    return backend.read_verified(lambda: send(uri, lambda **once: bytes(_blob(uri).download_as_bytes(**once))))


def read_with_token(uri: str) -> tuple[bytes, str]:
    """Reads a whole object and its token."""
    while True:
        with contextlib.suppress(PreconditionFailed):  # replaced between the two requests
            return backend.read_verified(lambda: send(uri, lambda **once: _read_generation(_blob(uri), once)))


def open_file(uri: str) -> IO[bytes]:
    """Opens one generation of an object."""
    blob = send(uri, lambda **once: _load_metadata(_blob(uri), once))

    def fetch(first: int, last: int) -> bytes:
        return send(uri, lambda **once: bytes(blob.download_as_bytes(start=first, end=last, **once)))

    return backend.open_ranges(uri, int(blob.size), fetch)


def write_bytes(uri: str, data: bytes, only_if_absent: bool) -> None:
    """Writes an object."""
    try:
        _upload(uri, data, 0 if only_if_absent else None)
    except PreconditionFailed:
        raise FileExistsError(f"object already exists: {uri}") from None


def swap(uri: str, content: bytes, token: str | None) -> None:
    """Replaces an object if its token is still current."""
    try:
        _upload(uri, content, int(token or 0))  # 0: no object exists
    except (FileNotFoundError, PreconditionFailed):
        raise backend.changed_error(uri) from None


def delete(uri: str) -> None:
    """Deletes an object."""
    with contextlib.suppress(FileNotFoundError):
        send(uri, lambda **once: _blob(uri).delete(**once))


def list_files(uri: str) -> Iterator[ObjectInfo]:
    """Lists the objects below a prefix."""
    bucket, prefix = backend.split_uri(uri.rstrip("/") + "/")
    for blob in send(uri, lambda **once: list(_client(bucket).list_blobs(bucket, prefix=prefix, **once))):
        if not blob.name.endswith("/"):  # a folder placeholder of the web console
            md5 = base64.b64decode(blob.md5_hash).hex() if blob.md5_hash else None
            yield ObjectInfo(blob.name[len(prefix) :], f"gs://{bucket}/{blob.name}", int(blob.size), md5)


def _load_metadata(blob: storage.Blob, once: dict[str, Any]) -> storage.Blob:
    blob.reload(**once)  # fetches the generation
    return blob


def _read_generation(blob: storage.Blob, once: dict[str, Any]) -> tuple[bytes, str]:
    _load_metadata(blob, once)
    return blob.download_as_bytes(if_generation_match=blob.generation, **once), str(blob.generation)


def _upload(uri: str, data: bytes, generation: int | None) -> None:
    options = {"content_type": "application/octet-stream", "if_generation_match": generation}
    send(uri, lambda **once: _blob(uri).upload_from_string(data, **options, **once))


def send(uri: str, request: Callable[..., Answer]) -> Answer:
    """Sends a request with retries. The request receives the client's options for a single attempt."""
    with translate_errors(uri):
        return retry.call_with_retry(lambda: request(retry=None, timeout=_timeout()), is_retryable)


def _timeout() -> tuple[float, float]:
    return retry.CONNECT_TIMEOUT, retry.READ_TIMEOUT


def is_retryable(error: Exception) -> bool:
    if isinstance(error, InvalidResponse):  # raised by range requests
        return error.response.status_code in retry.RETRYABLE_STATUS_CODES
    if isinstance(error, GoogleAPICallError):
        is_disk_full = "no space left" in error.message  # the disk of the embedded store
        return error.code in retry.RETRYABLE_STATUS_CODES and not is_disk_full
    return isinstance(error, TRANSIENT_ERRORS)


@contextlib.contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turns client errors into FileNotFoundError or StorageError. Callers handle PreconditionFailed."""
    bucket = f"gs://{backend.split_uri(uri)[0]}"
    try:
        yield
    except PreconditionFailed:
        raise
    except NotFound as error:
        if "bucket does not exist" in error.message:
            raise StorageError(f"bucket {bucket} does not exist, cannot access {uri}") from None
        raise backend.missing_error(uri) from None
    except DataCorruption as error:
        raise backend.ChecksumError(f"{uri} is corrupt: {error}") from None
    except (Unauthorized, Forbidden, GoogleAuthError) as error:
        raise StorageError(
            f"access to {bucket} denied: {error}; log in with `gcloud auth application-default login`, or grant the "
            "service account access to the bucket"
        ) from None
    except (GoogleAPIError, RequestException, InvalidResponse, ConnectionError) as error:
        raise StorageError(f"request to {bucket} failed: {error}") from None


def _blob(uri: str) -> storage.Blob:
    bucket, name = backend.split_uri(uri)
    return _client(bucket).bucket(bucket).blob(name)


def _client(bucket: str) -> storage.Client:
    if bucket != EMBEDDED_BUCKET:
        return _client_at(None)
    endpoint = os.environ.get(EMBEDDED_ENDPOINT_VARIABLE)
    if not endpoint:
        raise StorageError(
            f"gs://{EMBEDDED_BUCKET} is only available while `radiograft run` runs; its files are under OUT/store"
        )
    return _client_at(endpoint)


@functools.lru_cache(maxsize=8)
def _client_at(endpoint: str | None) -> storage.Client:
    if endpoint is None:
        return storage.Client()
    return storage.Client(
        project="radiograft", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
    )
