"""A writer that is cut off half-way, on disk or on its way to the object store, changes nothing that others see."""

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
WRITE_4_MB = "import sys; from components import storage; storage.write_bytes(sys.argv[1], b'new' * 1_400_000)"


class Relay(socketserver.ThreadingTCPServer):
    """Passes on to the object store the first megabyte of every connection, and no answer back."""

    def __init__(self, store: tuple[str, int]) -> None:
        self.store, self.full = store, threading.Event()
        super().__init__(("127.0.0.1", 0), PassOn)


class PassOn(socketserver.BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        passed = 0
        with socket.create_connection(self.server.store) as store:
            while part := self.request.recv(65_536):
                if passed < 1_000_000:
                    store.sendall(part)
                    passed += len(part)
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


def die_uploading(uri: str) -> None:
    """A process that is killed when one megabyte of four has reached the object store."""
    variable = ENDPOINTS[uri.partition("://")[0]]
    with relay(variable) as server:
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        environment = {**os.environ, variable: endpoint}
        writer = subprocess.Popen([sys.executable, "-c", WRITE_4_MB, uri], env=environment)
        cut = server.full.wait(60)
        writer.kill()
        assert (cut, writer.wait()) == (True, -signal.SIGKILL)


def die_writing_a_file(uri: str) -> None:
    """A process that the kernel kills after it has written 1 MB of 4."""
    # Left to itself Python ignores the signal and raises OSError.
    fatal = "import resource as r, signal as s; s.signal(s.SIGXFSZ, s.SIG_DFL); r.setrlimit(r.RLIMIT_CORE, (0, 0));"
    writer = subprocess.run([sys.executable, "-c", fatal + LIMIT_TO_1_MB + WRITE_4_MB, uri])
    assert writer.returncode == -signal.SIGXFSZ


@pytest.mark.parametrize("before", [{}, {"file": b"old"}])
def test_a_writer_that_dies_half_way_leaves_what_was_there(place: str, before: dict[str, bytes]) -> None:
    for name, content in before.items():
        storage.write_bytes(f"{place}/{name}", content)
    die_writing = die_uploading if storage.is_bucket(place) else die_writing_a_file
    die_writing(f"{place}/file")
    assert {entry.name: storage.read_bytes(entry.uri) for entry in storage.list_files(place)} == before
    assert storage.exists(f"{place}/file") == bool(before)


def test_a_writer_without_space_raises_and_leaves_no_draft(tmp_path: Path) -> None:
    script = LIMIT_TO_1_MB + WRITE_4_MB
    writer = subprocess.run([sys.executable, "-c", script, str(tmp_path / "file")], capture_output=True, text=True)
    assert "OSError: [Errno 27] File too large" in writer.stderr
    assert list(tmp_path.iterdir()) == []
