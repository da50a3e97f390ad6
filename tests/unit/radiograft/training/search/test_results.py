"""The trials of a search: made from a history, compared, and stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from radiograft.registry.training_types import Trial
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


def trial_of(cut_off: str, val_auroc: float, val_loss: float = 0.5, trainable_weights: int = 100) -> Trial:
    return Trial(
        overrides={"model_cut_off": cut_off},
        trainable_weights=trainable_weights,
        epochs=3,
        best_epoch=2,
        metrics={"val_auroc": val_auroc, "val_loss": val_loss},
    )


@pytest.mark.parametrize(("best_epoch", "val_auroc", "val_loss"), [(2, 0.9, 0.6), (0, 0.75, 0.65)])
def test_make_trial_contains_metrics_of_best_epoch(best_epoch: int, val_auroc: float, val_loss: float) -> None:
    trial = make_trial({"model_cut_off": "top_conv"}, 410_000, History(EPOCHS, best_epoch, INITIAL))
    assert (trial["overrides"], trial["trainable_weights"]) == ({"model_cut_off": "top_conv"}, 410_000)
    assert (trial["epochs"], trial["best_epoch"]) == (3, best_epoch)
    assert (trial["metrics"]["val_auroc"], trial["metrics"]["val_loss"]) == (val_auroc, val_loss)


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial_of("a", 0.8), trial_of("b", 0.9, val_loss=2.0), trial_of("c", 0.7)], "b"),
        ([trial_of("a", 0.9, val_loss=0.6), trial_of("b", 0.9, val_loss=0.5)], "b"),
        ([trial_of("a", 0.9, trainable_weights=200), trial_of("b", 0.9, trainable_weights=100)], "b"),
        ([trial_of("a", 0.5)], "a"),
    ],
)
def test_best_trial_by_auroc_then_loss_then_weights(trials: list[Trial], best: str) -> None:
    assert best_trial(trials)["overrides"] == {"model_cut_off": best}
    assert best_trial(trials[::-1])["overrides"] == {"model_cut_off": best}


def test_write_trials_sorts_from_input_to_output(tmp_path: Path) -> None:
    deep, shallow = trial_of("deep", 0.9, trainable_weights=10), trial_of("shallow", 0.8, trainable_weights=1000)
    search_results.write_trials(tmp_path, [deep, shallow])
    assert search_results.read_trials(tmp_path) == [shallow, deep]
    assert json.loads((tmp_path / "search.json").read_text())[0]["metrics"]["val_auroc"] == 0.8


def test_read_trials_without_file_returns_empty_list(tmp_path: Path) -> None:
    assert search_results.read_trials(tmp_path) == []


def test_best_trial_with_minimized_metric_is_lowest() -> None:
    trials = [trial_of("a", 0.8) | {"metrics": {"val_mae": mae, "val_loss": 0.1}} for mae in (12.0, 9.0, 11.0)]
    assert best_trial(trials, Monitor("val_mae", "min"))["metrics"]["val_mae"] == 9.0  # type: ignore[arg-type]
