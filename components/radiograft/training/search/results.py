"""The table of the cut-off search, one row a candidate: written beside the model that won, read by later stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:  # the stage that collects the candidates needs no TensorFlow
    from radiograft.training.trainer import History

TRIALS_FILE = "search.json"


class Trial(TypedDict):
    """Fine-tuning from one cut-off.

    `epochs` were run and `best_epoch` was kept, 0 being the state before training; the validation figures are those of
    the weights that were kept.
    """

    cut_off: str
    trainable_weights: int
    epochs: int
    best_epoch: int
    val_auroc: float
    val_loss: float


def make_trial(cut_off: str, trainable_weights: int, history: History) -> Trial:
    """A row of the table from what training did."""
    return Trial(
        cut_off=cut_off,
        trainable_weights=trainable_weights,
        epochs=len(history.epochs),
        best_epoch=history.best_epoch,
        val_auroc=history.best["val_auroc"],
        val_loss=history.best["val_loss"],
    )


def best_trial(table: Sequence[Trial]) -> Trial:
    """The candidate of highest validation AUROC; of equals that of lower loss, then of fewer weights to train.

    Raises:
        ValueError: there is no candidate.
    """
    return min(table, key=lambda row: (-row["val_auroc"], row["val_loss"], row["trainable_weights"]))


def write_trials(folder: Path, table: Sequence[Trial]) -> None:
    """Writes search.json, the rows from the shallowest cut-off to the deepest."""
    rows = sorted(table, key=lambda row: -row["trainable_weights"])
    (folder / TRIALS_FILE).write_text(json.dumps(rows, indent=2))


def read_trials(folder: Path) -> list[Trial]:
    """The table in a model's folder; empty where none was written."""
    path = folder / TRIALS_FILE
    return list(json.loads(path.read_text())) if path.exists() else []
