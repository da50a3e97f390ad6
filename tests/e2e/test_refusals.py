"""Failing runs: one clear message, exit code 1, nothing published, `latest` unchanged."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from radiograft.backbones import list_backbones
from radiograft.registry import versions as registry
from tests.e2e.runs import TwoRuns

Radiograft = Callable[..., subprocess.CompletedProcess[str]]
RUN_FOLDERS = "20*"


def _published(out: Path) -> dict[str, bytes]:
    """Returns all files of the registry by name, including claims but without checkpoints."""
    folder = out / "store" / "files" / "radiograft-embedded" / "registry"
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(registry.CHECKPOINTS)}


@pytest.fixture
def run_fails(two_runs: TwoRuns, small: Path, radiograft: Radiograft) -> Radiograft:
    """Starts a run that must exit with code 1 and leave the registry and `latest` unchanged."""

    def run(*assignments: str) -> subprocess.CompletedProcess[str]:
        latest, published = (two_runs.out / "latest").readlink(), _published(two_runs.out)
        done = radiograft(two_runs.out, small, *assignments)
        assert done.returncode == 1
        assert (two_runs.out / "latest").readlink() == latest
        assert _published(two_runs.out) == published
        assert "chest-radiograph/2/manifest.json" in published
        return done

    return run


def _assert_task_failed(done: subprocess.CompletedProcess[str], stage: str, error: str) -> None:
    """Checks that stderr has the error without a traceback, the log's path, and that nothing was published.

    Fails if `Progress.failure` returns the traceback, 30 lines through runpy and kfp, or if the log lacks it.
    """
    assert f"✗ {stage} " in done.stdout
    message, _, end = done.stderr.strip().rpartition("\n\n")
    assert message.startswith(error)
    assert "Traceback" not in done.stderr
    assert 'File "' not in done.stderr
    assert done.stderr.count(error) == 1
    log, outcome = end.splitlines()
    traceback = Path(log.removeprefix("full log: ")).read_text().rpartition("Traceback (most recent")[2]
    assert 'task.py", line ' in traceback
    assert error in traceback
    assert outcome == "nothing was published"


@pytest.fixture
def source(nih_folder: Path, tmp_path: Path) -> Path:
    """A copy of a small dataset that a test may corrupt."""
    for path in nih_folder.rglob("*"):
        if path.is_file():
            copy = tmp_path / "source" / path.relative_to(nih_folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    return tmp_path / "source"


def test_run_missing_table_fails(run_fails: Radiograft, source: Path) -> None:
    (source / "Data_Entry_2017_v2020.csv").unlink()
    done = run_fails("format=chestxray14", f"source={source}")
    error = (
        "FileNotFoundError: data_source must contain Data_Entry_2017_v2020.csv or Data_Entry_2017.csv "
        "(plain, .gz or .zip)"
    )
    _assert_task_failed(done, "ingest", error)


def test_run_missing_source_fails(run_fails: Radiograft, tmp_path: Path) -> None:
    done = run_fails("format=chestxray14", f"source={tmp_path / 'nowhere'}")
    _assert_task_failed(done, "ingest", f"FileNotFoundError: no such folder: {tmp_path / 'nowhere'}")


def test_run_unknown_label_fails(run_fails: Radiograft) -> None:
    done = run_fails("labels=Pneumona")
    _assert_task_failed(
        done,
        "ingest",
        "radiograft.utils.errors.SensitiveValueError: data_labels must be findings of the dataset (Atelectasis, ",
    )
    assert "got 'Pneumona'; did you mean 'Pneumonia' or " in done.stderr


def test_run_split_with_single_class_fails(run_fails: Radiograft, source: Path) -> None:
    table = source / "Data_Entry_2017_v2020.csv"
    head, *rows = table.read_text().splitlines()
    only_one = [rows[0].replace(rows[0].split(",")[1], "Hernia", 1)]
    others = [row.replace(row.split(",")[1], "No Finding", 1) for row in rows[1:]]
    table.write_text("\n".join([head, *only_one, *others]))
    done = run_fails("format=chestxray14", f"source={source}", "labels=Hernia")
    error = "ValueError: training and validation must hold images with and without the finding, and test must not be"
    _assert_task_failed(done, "ingest", error)
    assert "1 with Hernia" in done.stderr
    assert "0 with Hernia" in done.stderr


def test_run_patient_in_two_splits_fails(run_fails: Radiograft, source: Path) -> None:
    names = (source / "train_val_list.txt").read_text().split()
    patients = [name.partition("_")[0] for name in names]
    leaking = next(name for name in names if patients.count(name.partition("_")[0]) > 1)
    (source / "train_val_list.txt").write_text("\n".join(name for name in names if name != leaking))
    with (source / "test_list.txt").open("a") as test_list:
        test_list.write(f"\n{leaking}")
    done = run_fails("format=chestxray14", f"source={source}")
    error = "ValueError: a patient must be in one split only, got 1 in several of the dataset's own splits: "
    _assert_task_failed(done, "ingest", error + str(int(leaking.partition("_")[0])))


def test_run_unknown_backbone_fails_before_start(run_fails: Radiograft, two_runs: TwoRuns) -> None:
    runs = sorted(two_runs.out.glob(RUN_FOLDERS))
    done = run_fails("backbone=vgg1")
    names = ", ".join(list_backbones())
    message = f"model_backbone must be one of {names}, got 'vgg1'; did you mean 'vgg16'?"
    assert (done.stdout, done.stderr) == ("", f"Error: {message}\n")
    assert sorted(two_runs.out.glob(RUN_FOLDERS)) == runs


def test_run_weights_with_wrong_md5_fails(run_fails: Radiograft, tmp_path: Path) -> None:
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"something else")
    done = run_fails(f"weights={weights}", "weights_md5=30ee3e1110167f948a6b9946edeeb738")
    error = (
        f"ValueError: model_weights_md5 must be the MD5 of {weights}: expected 30ee3e1110167f948a6b9946edeeb738, "
        "got 6c7ba9c5a141421e1c03cb9807c97c74; the file is different or corrupt"
    )
    _assert_task_failed(done, "extract-features", error)
