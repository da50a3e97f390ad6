"""`radiograft run` and `resume` of runs that are finished or cannot start: one message, existing files unchanged."""

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
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with one run and the link `latest` to it."""
    (tmp_path / "runs" / RUN).mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to(RUN)
    return tmp_path / "runs"


@pytest.mark.parametrize("run_id", [RUN, "latest"])
def test_resume_finished_run_changes_nothing(out: Path, run_id: str) -> None:
    """Fails if `run_pipeline` ignores summary.json: it would delete the artifacts and publish another version."""
    summary = {"run_id": RUN, "trained": False, "reason": "the data have not changed"}
    (out / RUN / "run.json").write_text(json.dumps({"pipeline": "transfer_learning", "values": {}}))
    (out / RUN / "summary.json").write_text(json.dumps(summary))
    (out / RUN / "artifacts").mkdir()
    result = _radiograft("resume", run_id, "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == [RUN, "latest"]  # no store was created
    assert (out / RUN / "artifacts").is_dir()
    assert (out / "latest").readlink() == Path(RUN)


def test_run_pipeline_finished_run_prints_resolved_id(out: Path) -> None:
    """Fails if the message has the given id, which may be the name of a link."""
    summary = {"run_id": RUN, "trained": False, "reason": "the data have not changed"}
    (out / RUN / "run.json").write_text("{}")
    (out / RUN / "summary.json").write_text(json.dumps(summary))
    screen = io.StringIO()
    assert runner.run_pipeline("latest", out, Console(file=screen, width=100)) == summary
    assert screen.getvalue() == f"run {RUN} is already finished\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"pipeline": "transf', "; it is malformed (Unterminated string starting at: line 1 column 14 (char 13)), so"),
        ("{}", "; it is malformed ('pipeline'), so start a new run"),
        ("[]", "; it is malformed (list indices must be integers or slices, not str), so start a new run"),
        ('{"pipeline": "../x", "values": {}}', ", got '../x' with dict; start a new run"),
        ('{"pipeline": "cutoff_search", "values": 7}', ", got 'cutoff_search' with int; start a new run"),
    ],
)
def test_resume_malformed_record_fails(out: Path, content: str, message: str) -> None:
    """The message names the real path of run.json, not that of the link `latest`."""
    (out / RUN / "run.json").write_text(content)
    result = _radiograft("resume", "latest", "--out", out)
    begin = f"Error: {out / RUN / 'run.json'} must contain the pipeline and the values of a run"
    assert result.exit_code == 1
    assert result.output.startswith(begin + message)
    assert len(result.output.splitlines()) == 1


def test_resume_invalid_settings_fails(out: Path) -> None:
    """Fails if the recorded values are not validated."""
    (out / RUN / "run.json").write_text('{"pipeline": "transfer_learning", "values": {"image_size": 64}}')
    result = _radiograft("resume", RUN, "--out", out)
    assert result.exit_code == 1
    assert result.output.startswith(
        f"Error: data_source must be given ({all_settings()['data_source'].metadata['help']})"
    )


def test_resume_unexpected_error_logs_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails if only `cli_errors` handles the error: the traceback would be lost."""
    monkeypatch.setattr(runner, "embedded_store", contextlib.nullcontext)
    monkeypatch.setattr(runner, "COMPILED", None)
    values = values_for("transfer_learning", "demo", [])
    run_id = runner.new_run_id("transfer_learning", values, tmp_path)
    result = _radiograft("resume", run_id, "--out", tmp_path)
    log = tmp_path / run_id / "run.log"
    message = "Error: TypeError: unsupported operand type(s) for /: 'NoneType' and 'str'; the traceback is in"
    assert (result.exit_code, result.stderr) == (1, f"{message} {log}\n")
    assert log.read_text().startswith("Traceback (most recent call last):\n")
    assert 'runner.py", line ' in log.read_text()


@pytest.mark.parametrize("below", ["", "below"])
def test_run_out_is_file_fails(tmp_path: Path, below: str) -> None:
    """Fails if the run's folder is created outside `cli_errors`."""
    (tmp_path / "file").write_text("not a folder")
    result = _radiograft("run", "--settings", "demo", "--out", tmp_path / "file" / below)
    assert result.exit_code == 1
    assert result.output.startswith("Error: [Errno ")
    assert len(result.output.splitlines()) == 1


def test_run_too_long_settings_path_fails(tmp_path: Path) -> None:
    """Fails if `cli_errors` handles only subclasses of OSError: ENAMETOOLONG is a plain OSError."""
    result = _radiograft("run", "--settings", tmp_path / ("x" * 300))
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert len(result.output.splitlines()) == 1
