"""`radiograft run` and `resume` where nothing can be run: one message, and what is there is left alone."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from radiograft.config import all_settings
from radiograft_pipelines.cli.main import main
from radiograft_pipelines.local import runner
from radiograft_pipelines.settings import values_for

RUN = "20261123-042153-9d97beef"


def _radiograft(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder of runs with one run and `latest`, which leads there."""
    (tmp_path / "runs" / RUN).mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to(RUN)
    return tmp_path / "runs"


@pytest.mark.parametrize("run_id", [RUN, "latest"])
def test_a_finished_run_is_left_alone(out: Path, run_id: str) -> None:
    """Fails where `run` does not look for summary.json: it deletes the artifacts and publishes another version then."""
    summary = {"run_id": RUN, "trained": False, "reason": "the data have not changed"}
    (out / RUN / "run.json").write_text(json.dumps({"pipeline": "transfer_learning", "values": {}}))
    (out / RUN / "summary.json").write_text(json.dumps(summary))
    (out / RUN / "artifacts").mkdir()
    result = _radiograft("resume", run_id, "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [RUN, "latest"]  # no store was made
    assert (out / RUN / "artifacts").is_dir()
    assert (out / "latest").readlink() == Path(RUN)


def test_what_a_finished_run_says(out: Path) -> None:
    """Fails where `run` tells the id that was given, which may be a link's name, or not that it is finished."""
    summary = {"run_id": RUN, "trained": False, "reason": "the data have not changed"}
    (out / RUN / "run.json").write_text("{}")
    (out / RUN / "summary.json").write_text(json.dumps(summary))
    screen = io.StringIO()
    assert runner.run_pipeline("latest", out, Console(file=screen, width=100)) == summary
    assert screen.getvalue() == f"run {RUN} is finished: nothing is run again\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"pipeline": "transf', "; it is damaged (Unterminated string starting at: line 1 column 14 (char 13)), so"),
        ("{}", "; it is damaged ('pipeline'), so start a new run"),
        ("[]", "; it is damaged (list indices must be integers or slices, not str), so start a new run"),
        ('{"pipeline": "../x", "values": {}}', ", got '../x' with dict; start a new run"),
        ('{"pipeline": "cutoff_search", "values": 7}', ", got 'cutoff_search' with int; start a new run"),
    ],
)
def test_a_damaged_record_is_told_by_its_real_name(out: Path, content: str, message: str) -> None:
    """Fails where `resume` is not told in one line, where `_noted` does not look, or where `latest` passes as an id."""
    (out / RUN / "run.json").write_text(content)
    result = _radiograft("resume", "latest", "--out", out)
    begin = f"Error: {out / RUN / 'run.json'} must hold the pipeline and the values of a run"
    assert result.exit_code == 1
    assert result.output.startswith(begin + message)
    assert len(result.output.splitlines()) == 1


def test_values_that_are_no_settings_are_told(out: Path) -> None:
    """Fails where `_noted` hands on what it read without `complete`."""
    (out / RUN / "run.json").write_text('{"pipeline": "transfer_learning", "values": {"image_size": 64}}')
    result = _radiograft("resume", RUN, "--out", out)
    assert result.exit_code == 1
    assert result.output.startswith(
        f"Error: data_source must be given ({all_settings()['data_source'].metadata['help']})"
    )


def test_a_fault_of_the_program_leaves_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where told_in_one_line alone takes what goes wrong in a run: nobody could tell where it happened then."""
    monkeypatch.setattr(runner, "embedded_store", contextlib.nullcontext)
    monkeypatch.setattr(runner, "COMPILED", None)
    values = values_for("transfer_learning", "demo", [])
    run_id = runner.new_run_id("transfer_learning", values, tmp_path)
    result = _radiograft("resume", run_id, "--out", tmp_path)
    log = tmp_path / run_id / "run.log"
    message = "Error: TypeError: unsupported operand type(s) for /: 'NoneType' and 'str'; the traceback is in"
    assert (result.exit_code, result.stderr) == (1, f"{message} {log}\n")
    assert log.read_text().startswith("Traceback (most recent call last):\n")
    assert 'local_run.py", line ' in log.read_text()


@pytest.mark.parametrize("below", ["", "below"])
def test_runs_that_cannot_be_kept_are_told(tmp_path: Path, below: str) -> None:
    """Fails where the run's folder is made outside told_in_one_line."""
    (tmp_path / "file").write_text("no folder")
    result = _radiograft("run", "--settings", "demo", "--out", tmp_path / "file" / below)
    assert result.exit_code == 1
    assert result.output.startswith("Error: [Errno ")
    assert len(result.output.splitlines()) == 1


def test_a_settings_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Fails where only some of the errors of a file are told in one line: ENAMETOOLONG is a plain OSError."""
    result = _radiograft("run", "--settings", tmp_path / ("x" * 300))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
