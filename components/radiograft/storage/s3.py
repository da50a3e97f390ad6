"""Objects in S3. A token is an object's ETag, which the store compares (If-Match).

A CRC32 goes up with every object, and the client compares the checksum that comes down with one. A request is repeated
as `patience` says when the store is busy or the line breaks.
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

from radiograft.storage import backend, range_reader, retry
from radiograft.storage.backend import Answer, ObjectInfo, StorageError

MISSING_CODES = (409, 412)  # another writer was quicker, or is at it
MD5_DIGITS = 32

TRANSIENT_ERRORS = (NoConnectionError, HTTPClientError, IncompleteReadError)


def exists(uri: str) -> bool:
    """Whether there is an object."""
    try:
        _head(uri)
    except FileNotFoundError:
        return False
    return True


def read_bytes(uri: str) -> bytes:
    """The whole content."""
    return _get(uri)[0]


def read_with_token(uri: str) -> tuple[bytes, str]:
    """The whole content and its token."""
    return _get(uri)


def open_file(uri: str) -> IO[bytes]:
    """A reader of one version: it fails when the object is replaced meanwhile."""
    head = _head(uri)
    part = {"IfMatch": head["ETag"]}
    return range_reader.open_ranges(
        uri, int(head["ContentLength"]), lambda first, last: _get(uri, Range=f"bytes={first}-{last}", **part)[0]
    )


def write_bytes(uri: str, data: bytes, only_if_absent: bool) -> None:
    """Writes an object."""
    if not _put(uri, data, {"IfNoneMatch": "*"} if only_if_absent else {}):
        raise FileExistsError(f"object exists already: {uri}")


def swap(uri: str, content: bytes, token: str | None) -> None:
    """Replaces the content if it is still the one that `token` stands for."""
    with contextlib.suppress(FileNotFoundError):
        if _put(uri, content, {"IfMatch": token} if token else {"IfNoneMatch": "*"}):
            return
    raise backend.changed_error(uri)


def delete(uri: str) -> None:
    """Removes an object."""
    bucket, key = backend.split_uri(uri)
    with contextlib.suppress(FileNotFoundError):
        send(uri, lambda: client().delete_object(Bucket=bucket, Key=key))


def list_files(uri: str) -> Iterator[ObjectInfo]:
    """The objects below a prefix; sorted, because not every S3 store takes `/` as a letter."""
    bucket, prefix = backend.split_uri(uri.rstrip("/") + "/")
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [
        ObjectInfo(each["Key"][len(prefix) :], f"s3://{bucket}/{each['Key']}", each["Size"], each["ETag"].strip('"'))
        for page in send(uri, lambda: list(pages))
        for each in page.get("Contents", ())
        if not each["Key"].endswith("/")  # a browser's folder placeholder
    ]
    yield from _with_known_md5(sorted(found))


def _head(uri: str) -> dict[str, Any]:
    bucket, key = backend.split_uri(uri)
    return dict(send(uri, lambda: client().head_object(Bucket=bucket, Key=key)))


def _get(uri: str, **part: str) -> tuple[bytes, str]:
    """Content and ETag of an object or of a part of it."""
    bucket, key = backend.split_uri(uri)

    def read() -> tuple[bytes, str]:
        found = client().get_object(Bucket=bucket, Key=key, **part)
        return found["Body"].read(), found["ETag"]

    return backend.read_verified(lambda: send(uri, read))


def _put(uri: str, data: bytes, condition: dict[str, str]) -> bool:
    """Writes an object; whether the condition held."""
    bucket, key = backend.split_uri(uri)
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    # Named here it goes into a header. What the client computes itself may follow the body, which older stores refuse.
    checks = {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": checksum}

    def put() -> bool:
        try:
            client().put_object(Bucket=bucket, Key=key, Body=data, **checks, **condition)
        except ClientError as error:
            if status_of(error) not in MISSING_CODES:
                raise
            return False
        return True

    return send(uri, put)


def _with_known_md5(entries: list[ObjectInfo]) -> Iterator[ObjectInfo]:
    """Takes ETags for the MD5s that they are, unless several parts made an object or a managed key encrypts them."""
    plain = [entry for entry in entries if len(entry.md5 or "") == MD5_DIGITS]
    known = set(plain) if plain and _etag_is_md5(plain[0]) else set()
    for entry in entries:
        yield entry if entry in known else entry._replace(md5=None)


def _etag_is_md5(entry: ObjectInfo) -> bool:
    """Asks one object for all of a listing, which does not tell; a bucket encrypts as it is set up."""
    with contextlib.suppress(FileNotFoundError):
        head = _head(entry.uri)
        return head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    return False


@functools.cache
def client() -> Any:
    """The process's one client (botocore.client.S3), which threads may share."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=retry.CONNECT_TIMEOUT,
        read_timeout=retry.READ_TIMEOUT,
        max_pool_connections=16,
    )
    return boto3.session.Session().client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


def send(uri: str, request: Callable[[], Answer]) -> Answer:
    """Makes a request as often as `patience` says.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: whatever else is wrong.
    """
    with translate_errors(uri):
        return retry.call_with_retry(request, is_retryable)


def is_retryable(error: Exception) -> bool:
    return (
        status_of(error) in retry.RETRYABLE_STATUS_CODES
        if isinstance(error, ClientError)
        else isinstance(error, TRANSIENT_ERRORS)
    )


@contextlib.contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turns what the client raises into FileNotFoundError or StoreError."""
    bucket = f"s3://{backend.split_uri(uri)[0]}"
    at = f"{bucket} at {client().meta.endpoint_url}"
    try:
        yield
    except FlexibleChecksumError as error:
        raise backend.ChecksumError(f"{uri} is damaged: {error}") from None
    except NoCredentialsError:
        raise StorageError(
            f"there are no credentials for {bucket}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except (NoConnectionError, HTTPClientError) as error:
        raise StorageError(f"{at} cannot be reached: {error}; is AWS_ENDPOINT_URL right?") from None
    except ClientError as error:
        raise _explain(error, uri, at) from None
    except BotoCoreError as error:
        raise StorageError(f"{at} cannot be used: {error}") from None


def status_of(error: ClientError) -> int:
    """The HTTP status of a refusal."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _explain(error: ClientError, uri: str, at: str) -> OSError:
    said = error.response["Error"]
    if said["Code"] == "NoSuchBucket":
        return StorageError(f"there is no bucket {at}, asked for {uri}")
    if status_of(error) == 404:
        return backend.missing_error(uri)
    if status_of(error) == 412:
        return StorageError(f"{uri} was replaced while it was read; read it anew")
    return StorageError(f"{at} refused {error.operation_name} of {uri}: {said['Code']}, {said.get('Message')}")
