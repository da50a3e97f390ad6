"""Compare-and-swap, on disk and in buckets: exactly one of several writers that read the same content replaces it."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.cloud.storage import Blob

from radiograft import storage
from tests.repository import ROOT

WRITERS = 12
COUNT = """
import os, sys
from radiograft import storage
for _ in range(int(sys.argv[2])):
    while True:
        content, token = storage.read_versioned(sys.argv[1])
        try:
            new = b"%d by %d" % (int(content.split()[0]) + 1, os.getpid())
            storage.swap_content(sys.argv[1], new, token)
            break
        except FileExistsError:
            continue
"""


def test_swap_current_token_replaces_content(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"one")
    current = storage.read_versioned(f"{place}/pointer")
    assert current.content == b"one"
    storage.swap_content(f"{place}/pointer", b"two", current.token)
    assert storage.read_versioned(f"{place}/pointer").content == b"two"


def test_swap_used_token_raises(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"one")
    token = storage.read_versioned(f"{place}/pointer").token
    storage.swap_content(f"{place}/pointer", b"two", token)
    with pytest.raises(FileExistsError, match="/pointer changed since it was read"):
        storage.swap_content(f"{place}/pointer", b"three", token)
    assert storage.read_versioned(f"{place}/pointer").content == b"two"


def test_swap_retried_after_lost_response_succeeds(embedded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client repeats the request, and the store reports a conflict with the client's own first write."""
    uri, upload = f"{embedded}/{uuid.uuid4()}", Blob.upload_from_string

    def upload_twice(blob: Blob, *args: Any, **kwargs: Any) -> None:
        upload(blob, *args, **kwargs)
        upload(blob, *args, **kwargs)

    monkeypatch.setattr(Blob, "upload_from_string", upload_twice)
    storage.swap_content(uri, b"one", None)
    storage.swap_content(uri, b"two", storage.read_versioned(uri).token)
    assert storage.read_bytes(uri) == b"two"


def test_swap_without_token_existing_file_raises(place: str) -> None:
    storage.swap_content(f"{place}/folder/pointer", b"one", None)
    with pytest.raises(FileExistsError, match="/pointer changed since it was read"):
        storage.swap_content(f"{place}/folder/pointer", b"two", None)
    assert storage.read_bytes(f"{place}/folder/pointer") == b"one"


def test_swap_deleted_file_raises(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"one")
    token = storage.read_versioned(f"{place}/pointer").token
    storage.delete(f"{place}/pointer")
    with pytest.raises(FileExistsError, match="/pointer changed since it was read"):
        storage.swap_content(f"{place}/pointer", b"two", token)
    assert not storage.exists(f"{place}/pointer")


def test_read_versioned_missing_file_raises(place: str) -> None:
    with pytest.raises(FileNotFoundError, match="/missing"):
        storage.read_versioned(f"{place}/missing")


def test_swap_creates_only_one_listed_file(place: str) -> None:
    storage.swap_content(f"{place}/pointer", b"one", None)
    assert [entry.name for entry in storage.list_files(place)] == ["pointer"]


@pytest.mark.parametrize("before", [b"one", None])
def test_swap_concurrent_writers_exactly_one_succeeds(place: str, before: bytes | None) -> None:
    if before:
        storage.write_bytes(f"{place}/pointer", before)
    token = storage.read_versioned(f"{place}/pointer").token if before else None
    start = threading.Barrier(WRITERS)

    def write(number: int) -> bool:
        start.wait()
        try:
            storage.swap_content(f"{place}/pointer", b"%d" % number, token)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(write, range(WRITERS)))
    assert won.count(True) == 1
    assert storage.read_bytes(f"{place}/pointer") == b"%d" % won.index(True)


def test_swap_concurrent_processes_lose_no_update(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"0")
    command = [sys.executable, "-c", COUNT, f"{place}/pointer", "5"]
    processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert storage.read_bytes(f"{place}/pointer").split()[0] == b"15"
