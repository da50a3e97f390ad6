"""Interrupted writes, on disk and to object stores, change nothing that others can see."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from radiograft import storage

LIMIT_TO_1_MB = "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1_000_000, 1_000_000));"
ENDPOINTS = {"gs": storage.EMBEDDED_ENDPOINT_VARIABLE, "s3": "AWS_ENDPOINT_URL"}
WRITE_4_MB = "import sys; from radiograft import storage; storage.write_bytes(sys.argv[1], b'new' * 1_400_000)"


class Relay(socketserver.ThreadingTCPServer):
    """Forwards the first megabyte of every connection to the object store, and no response."""

    def __init__(self, store: tuple[str, int]) -> None:
        self.store, self.full = store, threading.Event()
        super().__init__(("127.0.0.1", 0), RelayHandler)


class RelayHandler(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        forwarded = 0
        with socket.create_connection(self.server.store) as store:
            while part := self.request.recv(65_536):
                if forwarded < 1_000_000:
                    store.sendall(part)
                    forwarded += len(part)
                else:
                    self.server.full.set()


@contextlib.contextmanager
def relay(variable: str) -> Iterator[Relay]:
    store = urlsplit(os.environ[variable])
    assert store.hostname
    assert store.port
    with Relay((store.hostname, store.port)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def kill_during_upload(uri: str) -> None:
    """Kills a process when one of four megabytes has reached the object store."""
    variable = ENDPOINTS[uri.partition("://")[0]]
    with relay(variable) as server:
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        environment = {**os.environ, variable: endpoint}
        writer = subprocess.Popen([sys.executable, "-c", WRITE_4_MB, uri], env=environment)
        cut = server.full.wait(60)
        writer.kill()
        assert (cut, writer.wait()) == (True, -signal.SIGKILL)


def kill_during_local_write(uri: str) -> None:
    """Starts a process that the kernel kills after it has written 1 MB of 4."""
    # By default Python ignores the signal and raises OSError.
    fatal = "import resource as r, signal as s; s.signal(s.SIGXFSZ, s.SIG_DFL); r.setrlimit(r.RLIMIT_CORE, (0, 0));"
    writer = subprocess.run([sys.executable, "-c", fatal + LIMIT_TO_1_MB + WRITE_4_MB, uri])
    assert writer.returncode == -signal.SIGXFSZ


@pytest.mark.parametrize("before", [{}, {"file": b"old"}])
def test_write_bytes_killed_writer_keeps_earlier_content(place: str, before: dict[str, bytes]) -> None:
    for name, content in before.items():
        storage.write_bytes(f"{place}/{name}", content)
    kill_writer = kill_during_upload if storage.is_bucket(place) else kill_during_local_write
    kill_writer(f"{place}/file")
    assert {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(place)} == before
    assert storage.exists(f"{place}/file") == bool(before)


def test_write_bytes_without_space_raises_and_leaves_no_draft(tmp_path: Path) -> None:
    script = LIMIT_TO_1_MB + WRITE_4_MB
    writer = subprocess.run([sys.executable, "-c", script, str(tmp_path / "file")], capture_output=True, text=True)
    assert "OSError: [Errno 27] File too large" in writer.stderr
    assert list(tmp_path.iterdir()) == []
