"""The folder that TensorFlow Serving serves from: the version in production, whole, and no other."""

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


def test_without_a_version_in_production_there_is_nothing_to_serve(stocked: str, folder: Path) -> None:
    assert sync_models(stocked, MODEL, folder) is None
    assert _contents(folder) == {}


def test_the_version_in_production_is_there_whole_and_alone(stocked: str, folder: Path) -> None:
    _promote(stocked, 3)
    assert sync_models(stocked, MODEL, folder) == 3
    _promote(stocked, 1)  # Serving itself would stay with the highest number
    assert sync_models(stocked, MODEL, folder) == 1
    assert _contents(folder) == {
        "chest/1/saved_model.pb": "graph 1",
        "chest/1/variables/variables.index": "weights 1",
    }


def test_a_rollback_brings_the_earlier_version_back(stocked: str, folder: Path) -> None:
    for number in (1, 2):
        _promote(stocked, number)
        sync_models(stocked, MODEL, folder)
    production.rollback(stocked, MODEL, reason="worse in the clinic")
    assert sync_models(stocked, MODEL, folder) == 1
    assert [path.name for path in (folder / MODEL).iterdir()] == ["1"]


def test_a_version_that_is_there_is_not_copied_again(stocked: str, folder: Path) -> None:
    _promote(stocked, 2)
    sync_models(stocked, MODEL, folder)
    before = (folder / MODEL / "2").stat().st_ino
    sync_models(stocked, MODEL, folder)
    assert (folder / MODEL / "2").stat().st_ino == before


def test_a_changed_file_leaves_in_place_what_serves(stocked: str, folder: Path) -> None:
    _promote(stocked, 1)
    sync_models(stocked, MODEL, folder)
    storage.write_bytes(storage.join(stocked, MODEL, "2", "variables/variables.index"), b"other weights")
    _promote(stocked, 2)
    with pytest.raises(ValueError, match="must have SHA-256"):
        sync_models(stocked, MODEL, folder)
    assert [path.name for path in (folder / MODEL).iterdir()] == ["1"]


def test_what_a_killed_process_left_is_not_served(stocked: str, folder: Path) -> None:
    for number in (1, 2):
        (folder / f".chest.{number}").mkdir()
        (folder / f".chest.{number}" / "half").write_text("a file")
    _promote(stocked, 2)
    sync_models(stocked, MODEL, folder)
    assert sorted(_contents(folder)) == ["chest/2/saved_model.pb", "chest/2/variables/variables.index"]


def test_a_version_goes_out_of_sight_before_its_files_go(
    stocked: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where `mirror` deletes the files in place: Serving, started meanwhile, would load what is left of them."""
    seen, rmtree = [], shutil.rmtree

    def look_and_remove(path: Path) -> None:
        seen.append(sorted(served.name for served in (folder / MODEL).iterdir()))
        rmtree(path)

    monkeypatch.setattr(shutil, "rmtree", look_and_remove)
    for number in (2, 1):
        _promote(stocked, number)
        sync_models(stocked, MODEL, folder)
    assert seen == [["1"]]


@contextlib.contextmanager
def _start(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "radiograft.serving.sync", "--every", "1", *arguments]
    with (
        log.open("wb") as said,
        subprocess.Popen(command, cwd=ROOT, env=os.environ.copy(), stderr=said) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline, "waited for a minute"
        time.sleep(0.1)


def test_the_first_version_is_waited_for(stocked: str, folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with _start(log, "--first", stocked, MODEL, str(folder)) as process:
        _wait(lambda: "no version of chest is in production yet" in log.read_text())
        _promote(stocked, 2)
        assert process.wait(60) == 0
    assert [path.name for path in (folder / MODEL).iterdir()] == ["2"]


def test_following_outlives_a_registry_that_is_out_of_reach(stocked: str, folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _promote(stocked, 1)
    with _start(log, stocked, MODEL, str(folder)):
        _wait((folder / HEARTBEAT_FILE).exists)
        storage.write_bytes(storage.join(stocked, MODEL, "2", "saved_model.pb"), b"another graph")
        _promote(stocked, 2)
        _wait(lambda: "the registry could not be followed" in log.read_text())
        _promote(stocked, 3)
        _wait((folder / MODEL / "3").exists)
