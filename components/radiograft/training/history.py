"""The course of a training as data: what history.json, the report and the search results hold of it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class History:
    """Metrics of every epoch.

    Attributes:
        epochs: one row an epoch: epoch (from 1), loss, accuracy, learning_rate of its last step, and the validation
            metrics, whose names begin with `val_`.
        best_epoch: the epoch whose weights were kept; 0 is the state before training.
        initial: validation metrics before training.
    """

    epochs: list[dict[str, float]]
    best_epoch: int
    initial: dict[str, float]

    @property
    def best(self) -> dict[str, float]:
        """Validation metrics of the weights that were kept."""
        row = self.epochs[self.best_epoch - 1] if self.best_epoch else self.initial
        return {name: value for name, value in row.items() if name.startswith("val_")}
