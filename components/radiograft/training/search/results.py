"""The table of the cut-off search, one row a candidate: written beside the model that won, read by later stages."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:  # the stage that collects the candidates needs no TensorFlow
    from radiograft.training.trainer import History

SEARCH = "search.json"


class Candidate(TypedDict):
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


def candidate(cut_off: str, trainable_weights: int, history: History) -> Candidate:
    """A row of the table from what training did."""
    return Candidate(
        cut_off=cut_off,
        trainable_weights=trainable_weights,
        epochs=len(history.epochs),
        best_epoch=history.best_epoch,
        val_auroc=history.best["val_auroc"],
        val_loss=history.best["val_loss"],
    )


def best(table: Sequence[Candidate]) -> Candidate:
    """The candidate of highest validation AUROC; of equals that of lower loss, then of fewer weights to train.

    Raises:
        ValueError: there is no candidate.
    """
    return min(table, key=lambda row: (-row["val_auroc"], row["val_loss"], row["trainable_weights"]))


def write(folder: Path, table: Sequence[Candidate]) -> None:
    """Writes search.json, the rows from the shallowest cut-off to the deepest."""
    rows = sorted(table, key=lambda row: -row["trainable_weights"])
    (folder / SEARCH).write_text(json.dumps(rows, indent=2))


def read(folder: Path) -> list[Candidate]:
    """The table in a model's folder; empty where none was written."""
    path = folder / SEARCH
    return list(json.loads(path.read_text())) if path.exists() else []
