"""The wrapper of stages checks GPUs, inputs and outputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from radiograft.stages.runtime import log, stage
from radiograft.storage import checksums
from radiograft.utils.gpus import list_gpu_devices

VARIABLE = "RADIOGRAFT_PROMISED_GPUS"


@pytest.fixture(autouse=True)
def restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, levels = list(root.handlers), (root.level, log.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    log.setLevel(levels[1])


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """The device files of a container with one GPU."""
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


def test_list_gpu_devices_counts_device_files(devices: Path) -> None:
    (devices / "nvidia0").touch()
    assert [node.name for node in list_gpu_devices(devices)] == ["nvidia0", "nvidia7"]


def test_stage_with_fewer_gpus_than_requested_raises_before_work(
    devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "2")
    started = False
    with pytest.raises(RuntimeError) as error, stage("fine_tune", devices=devices):
        started = True
    assert not started
    assert str(error.value).startswith("this task requested 2 GPUs but sees 1; ")
    assert str(error.value).endswith("check the pod's resources, or unset RADIOGRAFT_PROMISED_GPUS to run without GPUs")


@pytest.mark.parametrize("requested", [None, "0", "1"])
def test_stage_with_requested_gpus_runs(
    devices: Path, output: Path, monkeypatch: pytest.MonkeyPatch, requested: str | None
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if requested is not None:
        monkeypatch.setenv(VARIABLE, requested)
    with stage("fine_tune", str(output), devices=devices):
        output.write_text("worked")
    assert output.read_text() == "worked"


@pytest.mark.parametrize("kind", ["missing", "empty file", "empty folder"])
def test_stage_missing_or_empty_output_raises(tmp_path: Path, output: Path, kind: str) -> None:
    expected = tmp_path / "model"
    if kind == "empty file":
        expected.touch()
    if kind == "empty folder":
        expected.mkdir()
    with pytest.raises(RuntimeError) as error, stage("fine_tune", str(output), str(expected)):
        pass
    assert str(error.value) == f"fine_tune must write model, but nothing is at {expected}"


def test_stage_with_outputs_succeeds_and_logs_duration(
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


def test_stage_log_escapes_control_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stage("preprocess"):
        log.warning("set aside %s\n  and another", "a\x1b]0;title\x07\x9b6n.png")
    assert capsys.readouterr().out.startswith(
        "radiograft WARNING | set aside a\ufffd]0;title\ufffd\ufffd6n.png\n  and another\n"
    )


def test_stage_propagates_error_of_work(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="the real cause"), stage("ingest", str(tmp_path / "missing")):
        raise KeyError("the real cause")


def test_stage_outputs_pass_checksums_of_next_stage(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    with stage("preprocess", str(folder)):
        folder.mkdir()
        (folder / "train").write_text("1")
    with stage("fine_tune", reads=[str(folder)]):
        pass
    assert (folder / checksums.NAME).is_file()


def test_stage_corrupt_input_raises_before_work(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("1")
    checksums.write_checksums(tmp_path)
    (tmp_path / "train").write_text("2")
    started = False
    with (
        pytest.raises(ValueError, match=f"^{tmp_path}/train must match SHA256SUMS, "),
        stage("fine_tune", reads=[str(tmp_path)]),
    ):
        started = True
    assert not started
