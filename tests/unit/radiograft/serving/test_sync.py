"""The folder that TensorFlow Serving reads contains exactly the production version, complete."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.serving.sync import HEARTBEAT_FILE, sync_models
from tests.repository import ROOT

MODEL = "chest"


@pytest.fixture
def stocked(place: str, tmp_path: Path) -> str:
    """A registry with versions 1 to 3, none of them in production."""
    for number in (1, 2, 3):
        (tmp_path / "graph").write_text(f"graph {number}")
        (tmp_path / "weights").write_text(f"weights {number}")
        files = {"saved_model.pb": tmp_path / "graph", "variables/variables.index": tmp_path / "weights"}
        registry.write_version(place, MODEL, number, files, {})
    return place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def _promote(place: str, number: int) -> None:
    production.promote(place, MODEL, number, production.read_production(place, MODEL), reason="better")


def _contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_sync_without_production_version_returns_none(stocked: str, folder: Path) -> None:
    assert sync_models(stocked, MODEL, folder) is None
    assert _contents(folder) == {}


def test_sync_copies_exactly_the_production_version(stocked: str, folder: Path) -> None:
    _promote(stocked, 3)
    assert sync_models(stocked, MODEL, folder) == 3
    _promote(stocked, 1)  # Serving itself would keep the highest number
    assert sync_models(stocked, MODEL, folder) == 1
    assert _contents(folder) == {
        "chest/1/saved_model.pb": "graph 1",
        "chest/1/variables/variables.index": "weights 1",
    }


def test_sync_after_rollback_restores_earlier_version(stocked: str, folder: Path) -> None:
    for number in (1, 2):
        _promote(stocked, number)
        sync_models(stocked, MODEL, folder)
    production.rollback(stocked, MODEL, reason="worse in the clinic")
    assert sync_models(stocked, MODEL, folder) == 1
    assert [path.name for path in (folder / MODEL).iterdir()] == ["1"]


def test_sync_unchanged_version_is_not_copied_again(stocked: str, folder: Path) -> None:
    _promote(stocked, 2)
    sync_models(stocked, MODEL, folder)
    before = (folder / MODEL / "2").stat().st_ino
    sync_models(stocked, MODEL, folder)
    assert (folder / MODEL / "2").stat().st_ino == before


def test_sync_corrupt_version_raises_and_keeps_current_one(stocked: str, folder: Path) -> None:
    _promote(stocked, 1)
    sync_models(stocked, MODEL, folder)
    storage.write_bytes(storage.join(stocked, MODEL, "2", "variables/variables.index"), b"other weights")
    _promote(stocked, 2)
    with pytest.raises(ValueError, match="must have SHA-256"):
        sync_models(stocked, MODEL, folder)
    assert [path.name for path in (folder / MODEL).iterdir()] == ["1"]


def test_sync_deletes_leftovers_of_killed_process(stocked: str, folder: Path) -> None:
    for number in (1, 2):
        (folder / f".chest.{number}").mkdir()
        (folder / f".chest.{number}" / "half").write_text("a file")
    _promote(stocked, 2)
    sync_models(stocked, MODEL, folder)
    assert sorted(_contents(folder)) == ["chest/2/saved_model.pb", "chest/2/variables/variables.index"]


def test_sync_hides_version_before_deleting_its_files(
    stocked: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if files are deleted in place: if Serving started meanwhile, it would load an incomplete version."""
    visible, rmtree = [], shutil.rmtree

    def record_and_remove(path: Path) -> None:
        visible.append(sorted(served.name for served in (folder / MODEL).iterdir()))
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", record_and_remove)
    for number in (2, 1):
        _promote(stocked, number)
        sync_models(stocked, MODEL, folder)
    assert visible == [["1"]]


@contextlib.contextmanager
def _start(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "radiograft.serving.sync", "--every", "1", *arguments]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(command, cwd=ROOT, env=os.environ.copy(), stderr=stderr) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.1)


def test_main_first_waits_for_production_version(stocked: str, folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _start(log, "--first", stocked, MODEL, str(folder)) as process:
        _wait(lambda: "no version of chest is in production yet" in log.read_text())
        _promote(stocked, 2)
        assert process.wait(60) == 0
    assert [path.name for path in (folder / MODEL).iterdir()] == ["2"]


def test_main_continues_after_failed_read(stocked: str, folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _promote(stocked, 1)
    with _start(log, stocked, MODEL, str(folder)):
        _wait((folder / HEARTBEAT_FILE).exists)
        storage.write_bytes(storage.join(stocked, MODEL, "2", "saved_model.pb"), b"another graph")
        _promote(stocked, 2)
        _wait(lambda: "cannot read the production version from the registry" in log.read_text())
        _promote(stocked, 3)
        _wait((folder / MODEL / "3").exists)
