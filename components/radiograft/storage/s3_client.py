"""The connection to S3, be it AWS's or KFP's own: one client, and one sentence for each thing that may be wrong.

Endpoint, region and credentials are where AWS's own tools look for them: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, a profile, a pod's identity.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

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
from radiograft.storage.backend import Answer, StoreError

BROKEN = (NoConnectionError, HTTPClientError, IncompleteReadError)


@functools.cache
def client() -> Any:
    """The process's one client (botocore.client.S3), which threads may share."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=retry.CONNECT_SECONDS,
        read_timeout=retry.SILENCE_SECONDS,
        max_pool_connections=16,
    )
    return boto3.session.Session().client("s3", region_name=os.environ.get("AWS_REGION"), config=config)


def ask(uri: str, request: Callable[[], Answer]) -> Answer:
    """Makes a request as often as `patience` says.

    Raises:
        FileNotFoundError: there is no such object.
        StoreError: whatever else is wrong.
    """
    with _told(uri):
        return retry.patiently(request, _may_heal)


def _may_heal(error: Exception) -> bool:
    return status(error) in retry.BUSY if isinstance(error, ClientError) else isinstance(error, BROKEN)


@contextlib.contextmanager
def _told(uri: str) -> Iterator[None]:
    """Turns what the client raises into FileNotFoundError or StoreError."""
    bucket = f"s3://{backend.split(uri)[0]}"
    at = f"{bucket} at {client().meta.endpoint_url}"
    try:
        yield
    except FlexibleChecksumError as error:
        raise backend.DamagedError(f"{uri} is damaged: {error}") from None
    except NoCredentialsError:
        raise StoreError(
            f"there are no credentials for {bucket}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from None
    except (NoConnectionError, HTTPClientError) as error:
        raise StoreError(f"{at} cannot be reached: {error}; is AWS_ENDPOINT_URL right?") from None
    except ClientError as error:
        raise _explained(error, uri, at) from None
    except BotoCoreError as error:
        raise StoreError(f"{at} cannot be used: {error}") from None


def status(error: ClientError) -> int:
    """The HTTP status of a refusal."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _explained(error: ClientError, uri: str, at: str) -> OSError:
    said = error.response["Error"]
    if said["Code"] == "NoSuchBucket":
        return StoreError(f"there is no bucket {at}, asked for {uri}")
    if status(error) == 404:
        return backend.missing(uri)
    if status(error) == 412:
        return StoreError(f"{uri} was replaced while it was read; read it anew")
    return StoreError(f"{at} refused {error.operation_name} of {uri}: {said['Code']}, {said.get('Message')}")
