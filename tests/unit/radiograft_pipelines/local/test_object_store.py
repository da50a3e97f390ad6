"""The embedded object store serves a folder to this process and its children, and stops with its context."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from radiograft import storage
from radiograft_pipelines.local.object_store import embedded_store

FILE = "gs://radiograft-embedded/folder/file"
VARIABLE = "RADIOGRAFT_EMBEDDED_STORE"


@pytest.fixture(autouse=True)
def no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_embedded_store_serves_folder_on_loopback(tmp_path: Path) -> None:
    with embedded_store(tmp_path / "new" / "store") as endpoint:
        assert endpoint.startswith("http://127.0.0.1:")
        assert os.environ[VARIABLE] == endpoint
        buckets = requests.get(f"{endpoint}/storage/v1/b", timeout=10).json()["items"]
        assert [bucket["name"] for bucket in buckets] == ["radiograft-embedded"]
        storage.write_bytes(FILE, b"content")
        assert storage.read_bytes(FILE) == b"content"
    assert (tmp_path / "new/store/files/radiograft-embedded/folder/file").read_bytes() == b"content"


def test_embedded_store_serves_child_process(tmp_path: Path) -> None:
    script = "import sys; from radiograft import storage; sys.stdout.buffer.write(storage.read_bytes(sys.argv[1]))"
    with embedded_store(tmp_path):
        storage.write_bytes(FILE, b"from the parent")
        child = subprocess.run([sys.executable, "-c", script, FILE], capture_output=True, check=True)
    assert child.stdout == b"from the parent"


def test_embedded_store_restart_keeps_files_and_preconditions(tmp_path: Path) -> None:
    with embedded_store(tmp_path) as before:
        storage.write_bytes(FILE, b"first", only_if_absent=True)
    with embedded_store(tmp_path) as after:
        assert after != before
        entries = list(storage.list_files("gs://radiograft-embedded/folder"))
        assert entries == [storage.ObjectInfo("file", FILE, 5, hashlib.md5(b"first").hexdigest())]
        with pytest.raises(FileExistsError):
            storage.write_bytes(FILE, b"second", only_if_absent=True)
        assert storage.read_bytes(FILE) == b"first"


@pytest.mark.parametrize("failing", [False, True])
def test_embedded_store_stops_with_context(tmp_path: Path, failing: bool) -> None:
    with contextlib.suppress(KeyError), embedded_store(tmp_path) as endpoint:
        requests.get(endpoint, timeout=10)
        if failing:
            raise KeyError("the run failed")
    assert VARIABLE not in os.environ
    with pytest.raises(requests.ConnectionError):
        requests.get(endpoint, timeout=10)


def test_embedded_store_nested_restores_outer(tmp_path: Path) -> None:
    with embedded_store(tmp_path / "outer") as outer:
        storage.write_bytes(FILE, b"outer")
        with embedded_store(tmp_path / "inner") as inner:
            assert inner != outer
            assert not storage.exists(FILE)
        assert os.environ[VARIABLE] == outer
        assert storage.read_bytes(FILE) == b"outer"


def test_embedded_uri_without_store_fails(tmp_path: Path) -> None:
    with embedded_store(tmp_path):
        storage.write_bytes(FILE, b"x")
    for use in (
        lambda: storage.exists(FILE),
        lambda: storage.read_bytes(FILE),
        lambda: storage.write_bytes(FILE, b"y"),
        lambda: list(storage.list_files(FILE)),
    ):
        with pytest.raises(storage.StorageError) as error:
            use()
        assert str(error.value) == (
            "gs://radiograft-embedded is only available while `radiograft run` runs; its files are under OUT/store"
        )


def test_embedded_store_failed_start_reports_log(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("a file where the server needs a folder")
    message = r"^the embedded object store did not start: .*/files/: file exists"
    with pytest.raises(RuntimeError, match=message), embedded_store(tmp_path):
        pass
    assert VARIABLE not in os.environ


def test_embedded_store_second_server_on_folder_fails(tmp_path: Path) -> None:
    with embedded_store(tmp_path):
        message = r"^the embedded object store in .* is used by another run; wait for it, or choose another --out$"
        with pytest.raises(RuntimeError, match=message), embedded_store(tmp_path):
            pass
    with embedded_store(tmp_path):
        assert VARIABLE in os.environ
