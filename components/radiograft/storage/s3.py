"""Storage backend for S3. The token is an object's ETag, which the store compares (If-Match).

Every upload carries a CRC32, and the client verifies the checksum of every download. Requests are retried by the policy
in `retry`.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import os
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from radiograft.storage import backend, retry
from radiograft.storage.backend import Answer, ObjectInfo, StorageError

PRECONDITION_STATUS_CODES = (409, 412)  # another writer was or is writing
MD5_DIGITS = 32

TRANSIENT_ERRORS = (NoConnectionError, HTTPClientError, IncompleteReadError)


def exists(uri: str) -> bool:
    """Returns whether an object exists."""
    try:
        _head(uri)
    except FileNotFoundError:
        return False
    return True


def read_bytes(uri: str) -> bytes:
    """Reads a whole object."""
    return _get(uri)[0]


def read_with_token(uri: str) -> tuple[bytes, str]:
    """Reads a whole object and its token."""
    return _get(uri)


def open_file(uri: str) -> IO[bytes]:
    """Opens one version of an object. Reads fail once the object is replaced."""
    head = _head(uri)

    def fetch(first: int, last: int) -> bytes:
        return _get(uri, Range=f"bytes={first}-{last}", IfMatch=head["ETag"])[0]

    return backend.open_ranges(uri, int(head["ContentLength"]), fetch)


def write_bytes(uri: str, data: bytes, only_if_absent: bool) -> None:
    """Writes an object."""
    if not _put(uri, data, {"IfNoneMatch": "*"} if only_if_absent else {}):
        raise FileExistsError(f"object already exists: {uri}")


def swap(uri: str, content: bytes, token: str | None) -> None:
    """Replaces an object if its token is still current."""
    with contextlib.suppress(FileNotFoundError):
        if _put(uri, content, {"IfMatch": token} if token else {"IfNoneMatch": "*"}):
            return
    raise backend.changed_error(uri)


def delete(uri: str) -> None:
    """Deletes an object."""
    bucket, key = backend.split_uri(uri)
    with contextlib.suppress(FileNotFoundError):
        send(uri, lambda: client().delete_object(Bucket=bucket, Key=key))


def list_files(uri: str) -> Iterator[ObjectInfo]:
    """Lists the objects below a prefix. Some S3 stores sort `/` differently, so the result is sorted here."""
    bucket, prefix = backend.split_uri(uri.rstrip("/") + "/")
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    entries = [
        ObjectInfo(item["Key"][len(prefix) :], f"s3://{bucket}/{item['Key']}", item["Size"], item["ETag"].strip('"'))
        for page in send(uri, lambda: list(pages))
        for item in page.get("Contents", ())
        if not item["Key"].endswith("/")  # a folder placeholder of the web console
    ]
    yield from _with_known_md5(sorted(entries))


def _head(uri: str) -> dict[str, Any]:
    bucket, key = backend.split_uri(uri)
    return dict(send(uri, lambda: client().head_object(Bucket=bucket, Key=key)))


def _get(uri: str, **options: str) -> tuple[bytes, str]:
    """Reads content and ETag of an object or of a range of it."""
    bucket, key = backend.split_uri(uri)

    def read() -> tuple[bytes, str]:
        response = client().get_object(Bucket=bucket, Key=key, **options)
        return response["Body"].read(), response["ETag"]

    return backend.read_verified(lambda: send(uri, read))


def _put(uri: str, data: bytes, condition: dict[str, str]) -> bool:
    """Writes an object. Returns False if the condition does not hold."""
    bucket, key = backend.split_uri(uri)
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    # An explicit checksum is sent as a header. The client's own may follow the body, which older stores reject.
    checksum_options = {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": checksum}

    def put() -> bool:
        try:
            client().put_object(Bucket=bucket, Key=key, Body=data, **checksum_options, **condition)
        except ClientError as error:
            if status_of(error) not in PRECONDITION_STATUS_CODES:
                raise
            return False
        return True

    return send(uri, put)


def _with_known_md5(entries: list[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Keeps ETags that are MD5 hashes: not those of multipart uploads or of objects encrypted with a managed key."""
    plain = [entry for entry in entries if len(entry.md5 or "") == MD5_DIGITS]
    known = set(plain) if plain and _etag_is_md5(plain[0]) else set()
    for entry in entries:
        yield entry if entry in known else entry._replace(md5=None)


def _etag_is_md5(entry: ObjectInfo) -> bool:
    """Checks the encryption of one object for all. Listings omit it, and it is configured per bucket."""
    with contextlib.suppress(FileNotFoundError):
        head = _head(entry.uri)
        return head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    return False


@functools.cache
def client() -> Any:
    """Returns the client of this process (botocore.client.S3), which is thread-safe."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=retry.CONNECT_TIMEOUT,
        read_timeout=retry.READ_TIMEOUT,
        max_pool_connections=16,
    )
    return boto3.session.Session().client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


def send(uri: str, request: Callable[[], Answer]) -> Answer:
    """Sends a request with retries.

    Raises:
        FileNotFoundError: the object does not exist.
        StorageError: any other failure.
    """
    with translate_errors(uri):
        return retry.call_with_retry(request, is_retryable)


def is_retryable(error: Exception) -> bool:
    if isinstance(error, ClientError):
        return status_of(error) in retry.RETRYABLE_STATUS_CODES
    return isinstance(error, TRANSIENT_ERRORS)


@contextlib.contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turns client errors into FileNotFoundError or StorageError."""
    bucket = f"s3://{backend.split_uri(uri)[0]}"
    at = f"{bucket} at {client().meta.endpoint_url}"
    try:
        yield
    except FlexibleChecksumError as error:
        raise backend.ChecksumError(f"{uri} is corrupt: {error}") from None
    except NoCredentialsError:
        raise StorageError(
            f"no credentials for {bucket}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except (NoConnectionError, HTTPClientError) as error:
        raise StorageError(f"{at} cannot be reached: {error}; check AWS_ENDPOINT_URL") from None
    except ClientError as error:
        raise _explain(error, uri, at) from None
    except BotoCoreError as error:
        raise StorageError(f"{at} cannot be used: {error}") from None


def status_of(error: ClientError) -> int:
    """Returns the HTTP status of an error response."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _explain(error: ClientError, uri: str, at: str) -> OSError:
    details = error.response["Error"]
    if details["Code"] == "NoSuchBucket":
        return StorageError(f"bucket {at} does not exist, cannot access {uri}")
    if status_of(error) == 404:
        return backend.missing_error(uri)
    if status_of(error) == 412:
        return StorageError(f"{uri} was replaced while it was read; read it again")
    return StorageError(f"{at} rejected {error.operation_name} of {uri}: {details['Code']}, {details.get('Message')}")
