"""The command `radiograft search`: what it refuses, and what it prints of a finished search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from radiograft.config.resolution import fill_defaults
from radiograft_pipelines.cli import search as command
from radiograft_pipelines.cli.main import main
from radiograft_pipelines.local import search as local
from radiograft_pipelines.local.progress import RunFailedError

SETTINGS = {"data_source": "/no/such/images", "publish_registry": "/registry"}


def search(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["search", *arguments])


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of runs with a finished search; the console writes to the runner's output."""
    finalist = {"trial": None, "overrides": {}, "metrics": [0.7, 0.8], "mean": 0.75}
    winner = {"trial": 3, "overrides": {"model_dropout": 0.25}, "metrics": [0.8, 0.9], "mean": 0.85}
    difference = {"value": 0.1, "low": 0.02, "high": 0.2}
    comparison = {"test": {"auroc": {"difference": difference}}}
    results = {"metric": "val_auroc", "finalists": [finalist, winner], "winner": 1, "comparison": comparison}
    run = tmp_path / local.new_search(fill_defaults(SETTINGS), tmp_path)
    (run / "search_results.json").write_text(json.dumps(results))
    monkeypatch.setattr(command, "console", Console(width=100))
    return run


def test_search_finished_run_prints_winner_and_next_command(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command._print_results(local.run_search(finished.name, finished.parent, Console()), finished)
    printed = capsys.readouterr().out
    assert "trial 3 (winner)" in printed
    assert "model_dropout=0.25" in printed
    assert "AUROC of the winner minus that of the default settings, test: 0.100 (0.020-0.200)" in printed
    assert f"next: radiograft run --settings {finished / 'best.yaml'}\n" in printed


@pytest.mark.parametrize("arguments", [(), ("--settings", "demo", "--resume", "a-run")], ids=["neither", "both"])
def test_search_without_one_of_settings_and_resume_exits(arguments: tuple[str, ...]) -> None:
    result = search(*arguments)
    assert result.exit_code == 2
    assert "give --settings for a new search, or --resume RUN for an interrupted one" in result.output


def test_search_unknown_space_exits_before_anything_is_written(tmp_path: Path) -> None:
    result = search("--settings", "demo", "--space", "quik", "--out", str(tmp_path / "runs"))
    assert result.exit_code == 1
    assert (
        "search_space must be one of quick, standard, augmentation, rand_augment, architecture, backbones, cut_offs"
        in result.output
    )
    assert "did you mean 'quick'" in result.output
    assert not (tmp_path / "runs").exists()


def test_search_resume_unknown_run_exits(tmp_path: Path) -> None:
    result = search("--resume", "no-run", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "a search to resume must be a folder of" in result.output
    assert "got 'no-run'" in result.output


def test_run_search_failed_step_raises_with_its_error(tmp_path: Path) -> None:
    run_id = local.new_search(fill_defaults(SETTINGS), tmp_path)
    with pytest.raises(RunFailedError, match="/no/such/images") as raised:
        local.run_search(run_id, tmp_path, Console())
    assert "run.log" in str(raised.value)
