"""The table of the cut-off search: rows from training's history, the winner, and the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from radiograft.registry.result_types import Trial
from radiograft.training.history import History
from radiograft.training.search import results as search_results
from radiograft.training.search.results import best_trial, make_trial
from radiograft.training.tasks.base import Monitor

EPOCHS = [
    {"epoch": 1, "loss": 0.6, "val_loss": 0.5, "val_auroc": 0.8, "val_accuracy": 0.7},
    {"epoch": 2, "loss": 0.4, "val_loss": 0.6, "val_auroc": 0.9, "val_accuracy": 0.8},
    {"epoch": 3, "loss": 0.2, "val_loss": 0.7, "val_auroc": 0.7, "val_accuracy": 0.6},
]
INITIAL = {"val_loss": 0.65, "val_auroc": 0.75, "val_accuracy": 0.5}


def row(cut_off: str, val_auroc: float, val_loss: float = 0.5, trainable_weights: int = 100) -> Trial:
    return Trial(
        overrides={"model_cut_off": cut_off},
        trainable_weights=trainable_weights,
        epochs=3,
        best_epoch=2,
        metrics={"val_auroc": val_auroc, "val_loss": val_loss},
    )


@pytest.mark.parametrize(("best_epoch", "val_auroc", "val_loss"), [(2, 0.9, 0.6), (0, 0.75, 0.65)])
def test_a_row_tells_of_the_weights_that_were_kept(best_epoch: int, val_auroc: float, val_loss: float) -> None:
    trial = make_trial({"model_cut_off": "top_conv"}, 410_000, History(EPOCHS, best_epoch, INITIAL))
    assert (trial["overrides"], trial["trainable_weights"]) == ({"model_cut_off": "top_conv"}, 410_000)
    assert (trial["epochs"], trial["best_epoch"]) == (3, best_epoch)
    assert (trial["metrics"]["val_auroc"], trial["metrics"]["val_loss"]) == (val_auroc, val_loss)


@pytest.mark.parametrize(
    ("table", "winner"),
    [
        ([row("a", 0.8), row("b", 0.9, val_loss=2.0), row("c", 0.7)], "b"),
        ([row("a", 0.9, val_loss=0.6), row("b", 0.9, val_loss=0.5)], "b"),
        ([row("a", 0.9, trainable_weights=200), row("b", 0.9, trainable_weights=100)], "b"),
        ([row("a", 0.5)], "a"),
    ],
)
def test_the_winner_has_the_highest_auroc_then_the_lower_loss_then_fewer_weights(
    table: list[Trial], winner: str
) -> None:
    assert best_trial(table)["overrides"] == {"model_cut_off": winner}
    assert best_trial(table[::-1])["overrides"] == {"model_cut_off": winner}


def test_the_file_lists_the_candidates_from_the_input_towards_the_output(tmp_path: Path) -> None:
    deep, shallow = row("deep", 0.9, trainable_weights=10), row("shallow", 0.8, trainable_weights=1000)
    search_results.write_trials(tmp_path, [deep, shallow])
    assert search_results.read_trials(tmp_path) == [shallow, deep]
    assert json.loads((tmp_path / "search.json").read_text())[0]["metrics"]["val_auroc"] == 0.8


def test_a_model_without_a_search_has_no_table(tmp_path: Path) -> None:
    assert search_results.read_trials(tmp_path) == []


def test_best_trial_with_a_metric_to_minimize_takes_the_lowest() -> None:
    trials = [row("a", 0.8) | {"metrics": {"val_mae": mae, "val_loss": 0.1}} for mae in (12.0, 9.0, 11.0)]
    assert best_trial(trials, Monitor("val_mae", "min"))["metrics"]["val_mae"] == 9.0  # type: ignore[arg-type]
