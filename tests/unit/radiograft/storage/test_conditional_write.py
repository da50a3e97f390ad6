"""Compare-and-swap: of writers that saw the same content exactly one replaces it, on disk and in an object store."""

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
from radiograft.storage import conditional_write
from tests.repository import ROOT

WRITERS = 12
COUNT = """
import os, sys
from components import compare_and_swap
for _ in range(int(sys.argv[2])):
    while True:
        content, token = compare_and_swap.read(sys.argv[1])
        try:
            compare_and_swap.swap(sys.argv[1], b"%d by %d" % (int(content.split()[0]) + 1, os.getpid()), token)
            break
        except FileExistsError:
            continue
"""


def test_what_was_read_is_replaced(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"one")
    found = conditional_write.read_versioned(f"{place}/pointer")
    assert found.content == b"one"
    conditional_write.swap_content(f"{place}/pointer", b"two", found.token)
    assert conditional_write.read_versioned(f"{place}/pointer").content == b"two"


def test_a_token_that_was_used_is_worth_nothing(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"one")
    token = conditional_write.read_versioned(f"{place}/pointer").token
    conditional_write.swap_content(f"{place}/pointer", b"two", token)
    with pytest.raises(FileExistsError, match="/pointer changed since it was read"):
        conditional_write.swap_content(f"{place}/pointer", b"three", token)
    assert conditional_write.read_versioned(f"{place}/pointer").content == b"two"


def test_a_swap_whose_answer_was_lost_is_no_conflict(embedded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client repeats the request, and the store tells it that the object has changed: by itself."""
    uri, upload = f"{embedded}/{uuid.uuid4()}", Blob.upload_from_string

    def upload_twice(blob: Blob, *arguments: Any, **named: Any) -> None:
        upload(blob, *arguments, **named)
        upload(blob, *arguments, **named)

    monkeypatch.setattr(Blob, "upload_from_string", upload_twice)
    conditional_write.swap_content(uri, b"one", None)
    conditional_write.swap_content(uri, b"two", conditional_write.read_versioned(uri).token)
    assert storage.read_bytes(uri) == b"two"


def test_without_a_token_there_must_be_no_file(place: str) -> None:
    conditional_write.swap_content(f"{place}/folder/pointer", b"one", None)
    with pytest.raises(FileExistsError, match="/pointer changed since it was read"):
        conditional_write.swap_content(f"{place}/folder/pointer", b"two", None)
    assert storage.read_bytes(f"{place}/folder/pointer") == b"one"


def test_a_file_that_is_gone_is_not_replaced(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"one")
    token = conditional_write.read_versioned(f"{place}/pointer").token
    storage.delete(f"{place}/pointer")
    with pytest.raises(FileExistsError, match="/pointer changed since it was read"):
        conditional_write.swap_content(f"{place}/pointer", b"two", token)
    assert not storage.exists(f"{place}/pointer")


def test_a_missing_file_is_named(place: str) -> None:
    with pytest.raises(FileNotFoundError, match="/missing"):
        conditional_write.read_versioned(f"{place}/missing")


def test_nothing_but_the_file_is_listed(place: str) -> None:
    conditional_write.swap_content(f"{place}/pointer", b"one", None)
    assert [entry.name for entry in storage.list_files(place)] == ["pointer"]


@pytest.mark.parametrize("before", [b"one", None])
def test_of_twelve_racing_writers_exactly_one_wins(place: str, before: bytes | None) -> None:
    if before:
        storage.write_bytes(f"{place}/pointer", before)
    token = conditional_write.read_versioned(f"{place}/pointer").token if before else None
    start = threading.Barrier(WRITERS)

    def write(number: int) -> bool:
        start.wait()
        try:
            conditional_write.swap_content(f"{place}/pointer", b"%d" % number, token)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        won = list(pool.map(write, range(WRITERS)))
    assert won.count(True) == 1
    assert storage.read_bytes(f"{place}/pointer") == b"%d" % won.index(True)


def test_processes_that_count_together_lose_nothing(place: str) -> None:
    storage.write_bytes(f"{place}/pointer", b"0")
    command = [sys.executable, "-c", COUNT, f"{place}/pointer", "5"]
    counting = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]
    assert [process.wait() for process in counting] == [0, 0, 0]
    assert storage.read_bytes(f"{place}/pointer").split()[0] == b"15"
