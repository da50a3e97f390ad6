"""The course of a training as data: what history.json, the report and the search results hold of it."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class History:
    """Metrics of every epoch.

    Attributes:
        epochs: one row an epoch: epoch (from 1), loss, accuracy, learning_rate of its last step, and the validation
            metrics, whose names begin with `val_`.
        best_epoch: the epoch whose weights were kept; 0 is the state before training.
        initial: validation metrics before training.
        averaged_epochs: the epochs whose mean weights were kept instead, the best first; empty if there are none.
        averaged: validation metrics of the mean weights, or of the distilled ones.
        distilled_epochs: the epochs whose mean predictions were distilled into the weights that were kept, the best
            first; empty if there are none.
    """

    epochs: list[dict[str, float]]
    best_epoch: int
    initial: dict[str, float]
    averaged_epochs: list[int] = dataclasses.field(default_factory=list)
    averaged: dict[str, float] = dataclasses.field(default_factory=dict)
    distilled_epochs: list[int] = dataclasses.field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Returns the content of history.json; the averaged epochs are left out if there are none."""
        optional = ("averaged_epochs", "averaged", "distilled_epochs")
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value or name not in optional}

    @property
    def best(self) -> dict[str, float]:
        """Validation metrics of the weights that were kept."""
        if self.averaged:
            return self.averaged
        row = self.epochs[self.best_epoch - 1] if self.best_epoch else self.initial
        return {name: value for name, value in row.items() if name.startswith("val_")}
