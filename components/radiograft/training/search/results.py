"""The results of a search: one trial a row, stored as search.json beside the model of the best trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radiograft.config.base import Scalar
from radiograft.registry.training_types import Trial
from radiograft.training.history import History
from radiograft.training.tasks.base import Monitor, find_monitor

TRIALS_FILE = "search.json"


def make_trial(overrides: Mapping[str, Scalar], trainable_weights: int, history: History) -> Trial:
    """Returns the row of a finished training."""
    return Trial(
        overrides=dict(overrides),
        trainable_weights=trainable_weights,
        epochs=len(history.epochs),
        best_epoch=history.best_epoch,
        metrics=history.best,
    )


def best_trial(trials: Sequence[Trial], monitor: Monitor | None = None) -> Trial:
    """Returns the best trial by the monitor; of equal ones, the one with the lower loss, then with fewer weights.

    Without a monitor, it is that of the trials, see `find_monitor`.

    Raises:
        ValueError: there are no trials.
    """
    if not trials:
        raise ValueError("there must be at least one trial, got none")
    chosen = monitor or trials_monitor(trials)
    return max(trials, key=lambda trial: (*chosen.selection_key(trial["metrics"]), -trial["trainable_weights"]))


def trials_monitor(trials: Sequence[Trial]) -> Monitor:
    """Returns the monitor of a search with at least one trial."""
    return find_monitor(trials[0]["metrics"])


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Writes search.json, the trial with the most trained weights first."""
    rows = sorted(trials, key=lambda trial: -trial["trainable_weights"])
    (folder / TRIALS_FILE).write_text(json.dumps(rows, indent=2))


def read_trials(folder: Path) -> list[Trial]:
    """Reads search.json from a model's folder; returns an empty list if the file is missing."""
    path = folder / TRIALS_FILE
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return [Trial(**row) for row in rows]  # type: ignore[typeddict-item]
