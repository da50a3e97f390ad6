"""A local S3 server (moto), configured through the AWS environment variables."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from radiograft.storage import s3


@contextlib.contextmanager
def s3_double() -> Iterator[str]:
    """Starts the server and yields the s3:// URI of an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{server.get_host_and_port()[1]}")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "tester")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        s3.client().create_bucket(Bucket="radiograft")
        yield "s3://radiograft"
    s3.client.cache_clear()
    server.stop()
