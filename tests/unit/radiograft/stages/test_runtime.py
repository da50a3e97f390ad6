"""Every stage insists on the GPUs it was promised and on the outputs that it promises itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from radiograft.stages.runtime import log, stage
from radiograft.storage import checksums
from radiograft.utils.gpus import list_gpu_devices

PROMISE = "RADIOGRAFT_PROMISED_GPUS"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = list(root.handlers), (root.level, log.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    log.setLevel(levels[1])


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """What /dev shows of one GPU in a container."""
    folder = tmp_path / "dev"
    folder.mkdir()
    for name in ("nvidia7", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null"):
        (folder / name).touch()
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "output"
    path.write_text("written")
    return path


def test_gpus_are_counted_by_their_device_files(devices: Path) -> None:
    (devices / "nvidia0").touch()
    assert [node.name for node in list_gpu_devices(devices)] == ["nvidia0", "nvidia7"]


def test_fewer_gpus_than_promised_stop_the_stage_before_its_work(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PROMISE, "2")
    begun = False
    with pytest.raises(RuntimeError) as error, stage("fine_tune", devices=devices):
        begun = True
    assert not begun
    assert str(error.value).startswith("this task requested 2 GPUs but sees 1; ")
    assert str(error.value).endswith("check the pod's resources, or unset RADIOGRAFT_PROMISED_GPUS to run without GPUs")


@pytest.mark.parametrize("promise", [None, "0", "1"])
def test_a_kept_promise_or_none_lets_the_stage_work(
    devices: Path, output: Path, monkeypatch: pytest.MonkeyPatch, promise: str | None
) -> None:
    monkeypatch.delenv(PROMISE, raising=False)
    if promise is not None:
        monkeypatch.setenv(PROMISE, promise)
    with stage("fine_tune", str(output), devices=devices):
        output.write_text("worked")
    assert output.read_text() == "worked"


@pytest.mark.parametrize("kind", ["missing", "empty file", "empty folder"])
def test_an_output_that_was_not_written_fails_the_stage(tmp_path: Path, output: Path, kind: str) -> None:
    promised = tmp_path / "model"
    if kind == "empty file":
        promised.touch()
    if kind == "empty folder":
        promised.mkdir()
    with pytest.raises(RuntimeError) as error, stage("fine_tune", str(output), str(promised)):
        pass
    assert str(error.value) == f"fine_tune must write model, but nothing is at {promised}"


def test_written_files_and_folders_pass_and_the_time_is_told(
    tmp_path: Path, output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "catalog"
    with stage("ingest", str(output), str(folder)):
        folder.mkdir()
        (folder / "rows").write_text("1")
        log.info("1 image")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "radiograft INFO | 1 image"
    assert lines[1].startswith("radiograft DEBUG | ingest took ")
    assert lines[1].endswith(" s")


def test_what_names_tell_the_terminal_to_do_is_not_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stage("preprocess"):
        log.warning("set aside %s\n  and another", "a\x1b]0;title\x07\x9b6n.png")
    assert capsys.readouterr().out.startswith(
        "radiograft WARNING | set aside a\ufffd]0;title\ufffd\ufffd6n.png\n  and another\n"
    )


def test_the_works_own_error_comes_through(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="the real cause"), stage("ingest", str(tmp_path / "missing")):
        raise KeyError("the real cause")


def test_what_a_stage_writes_is_what_the_next_one_reads(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    with stage("preprocess", str(folder)):
        folder.mkdir()
        (folder / "train").write_text("1")
    with stage("fine_tune", reads=[str(folder)]):
        pass
    assert (folder / checksums.NAME).is_file()


def test_a_damaged_input_stops_the_stage_before_its_work(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("1")
    checksums.write_checksums(tmp_path)
    (tmp_path / "train").write_text("2")
    begun = False
    with (
        pytest.raises(ValueError, match=f"^{tmp_path}/train must match SHA256SUMS, "),
        stage("fine_tune", reads=[str(tmp_path)]),
    ):
        begun = True
    assert not begun
