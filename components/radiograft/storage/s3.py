"""Objects in S3. A token is an object's ETag, which the store compares (If-Match).

A CRC32 goes up with every object, and the client compares the checksum that comes down with one. A request is repeated
as `patience` says when the store is busy or the line breaks.
"""

from __future__ import annotations

import base64
import contextlib
import zlib
from collections.abc import Iterator
from typing import IO, Any

from botocore.exceptions import ClientError

from radiograft.storage import backend, range_reader
from radiograft.storage.backend import Entry
from radiograft.storage.s3_client import ask, client, status

LOST = (409, 412)  # another writer was quicker, or is at it
MD5_DIGITS = 32


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
    return range_reader.opened(
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
    raise backend.changed(uri)


def delete(uri: str) -> None:
    """Removes an object."""
    bucket, key = backend.split(uri)
    with contextlib.suppress(FileNotFoundError):
        ask(uri, lambda: client().delete_object(Bucket=bucket, Key=key))


def list_files(uri: str) -> Iterator[Entry]:
    """The objects below a prefix; sorted, because not every S3 store takes `/` as a letter."""
    bucket, prefix = backend.split(uri.rstrip("/") + "/")
    pages = client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [
        Entry(each["Key"][len(prefix) :], f"s3://{bucket}/{each['Key']}", each["Size"], each["ETag"].strip('"'))
        for page in ask(uri, lambda: list(pages))
        for each in page.get("Contents", ())
        if not each["Key"].endswith("/")  # a browser's folder placeholder
    ]
    yield from _with_known_md5(sorted(found))


def _head(uri: str) -> dict[str, Any]:
    bucket, key = backend.split(uri)
    return dict(ask(uri, lambda: client().head_object(Bucket=bucket, Key=key)))


def _get(uri: str, **part: str) -> tuple[bytes, str]:
    """Content and ETag of an object or of a part of it."""
    bucket, key = backend.split(uri)

    def read() -> tuple[bytes, str]:
        found = client().get_object(Bucket=bucket, Key=key, **part)
        return found["Body"].read(), found["ETag"]

    return backend.whole(lambda: ask(uri, read))


def _put(uri: str, data: bytes, condition: dict[str, str]) -> bool:
    """Writes an object; whether the condition held."""
    bucket, key = backend.split(uri)
    checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
    # Named here it goes into a header. What the client computes itself may follow the body, which older stores refuse.
    checks = {"ChecksumAlgorithm": "CRC32", "ChecksumCRC32": checksum}

    def put() -> bool:
        try:
            client().put_object(Bucket=bucket, Key=key, Body=data, **checks, **condition)
        except ClientError as error:
            if status(error) not in LOST:
                raise
            return False
        return True

    return ask(uri, put)


def _with_known_md5(entries: list[Entry]) -> Iterator[Entry]:
    """Takes ETags for the MD5s that they are, unless several parts made an object or a managed key encrypts them."""
    plain = [entry for entry in entries if len(entry.md5 or "") == MD5_DIGITS]
    known = set(plain) if plain and _etag_is_md5(plain[0]) else set()
    for entry in entries:
        yield entry if entry in known else entry._replace(md5=None)


def _etag_is_md5(entry: Entry) -> bool:
    """Asks one object for all of a listing, which does not tell; a bucket encrypts as it is set up."""
    with contextlib.suppress(FileNotFoundError):
        head = _head(entry.uri)
        return head.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in head
    return False
