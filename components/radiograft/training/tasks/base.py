"""The training task: everything about training that depends on what the network is trained for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

if TYPE_CHECKING:  # stages that choose between finished trainings need no TensorFlow
    import keras
    import numpy as np

    from radiograft.config.training import Recipe

DIVERGENCE_FRACTION = 0.8  # of the way from the initial loss to the largest one
PENALTY_FACTOR = 20.0  # times the L2 penalty before training
OBJECTIVE = "val_objective"  # the training loss on validation, if it differs from the plain val_loss


def validation_loss(metrics: Mapping[str, float]) -> float:
    """Returns the training loss on validation.

    Example:
        >>> validation_loss({"val_loss": 0.5}), validation_loss({"val_loss": 0.5, "val_objective": 0.2})
        (0.5, 0.2)
    """
    return metrics.get(OBJECTIVE, metrics["val_loss"])


class Monitor(NamedTuple):
    """A validation metric that chooses between epochs and between trials; `mode` says which direction is better."""

    metric: str
    mode: Literal["max", "min"]

    @property
    def title(self) -> str:
        """The metric as reports and logs call it."""
        return TITLES.get(self.metric, self.metric.removeprefix("val_"))

    def selection_key(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        """Returns a key that is larger for better metrics; of equal ones, the lower `val_loss` is better.

        Example:
            >>> better, worse = {"val_auroc": 0.9, "val_loss": 0.2}, {"val_auroc": 0.9, "val_loss": 0.3}
            >>> AUROC.selection_key(better) > AUROC.selection_key(worse)
            True
        """
        value = validation_loss(metrics) if self.metric == OBJECTIVE else metrics[self.metric]
        return (value if self.mode == "max" else -value), -metrics["val_loss"]


TITLES = {"val_auroc": "AUROC", "val_r2": "R²"}
AUROC, R2, LOSS = Monitor("val_auroc", "max"), Monitor("val_r2", "max"), Monitor(OBJECTIVE, "min")


def find_monitor(metrics: Mapping[str, float]) -> Monitor:
    """Returns the monitor of the task that has these validation metrics.

    Example:
        >>> find_monitor({"val_r2": 0.5, "val_loss": 0.1}).title
        'R²'
    """
    return R2 if R2.metric in metrics else AUROC


class MeasuredLoss(Protocol):
    """A Keras loss that can also compute its largest value for given labels."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, float32 [n]."""

    def worst(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the largest loss of each image for these labels, float32 [n]."""


class TrainingTask(Protocol):
    """What a network is trained for.

    Attributes:
        activation: of the network's last layer.
        monitor: validation metric by which the best epoch is kept.
        max_loss: largest validation loss.
        chance_loss: validation loss of a network that has learned nothing.
    """

    @property
    def activation(self) -> str: ...
    @property
    def monitor(self) -> Monitor: ...
    @property
    def max_loss(self) -> float: ...
    @property
    def chance_loss(self) -> float: ...

    def loss(self, truth: np.ndarray, recipe: Recipe) -> MeasuredLoss:
        """Returns the loss for training labels float32 [images, labels], NaN where unknown."""

    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns the metrics that are computed on the training batches."""

    def evaluate(self, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        """Returns validation metrics; their names begin with `val_`, and `val_loss` and the monitor are among them."""

    def format(self, metrics: Mapping[str, float]) -> str:
        """Returns the metrics as text for the log."""


def divergence_threshold(task: TrainingTask, initial_loss: float, worst: float, penalty: float) -> float:
    """Returns the loss of a step above which training counts as divergent.

    Without an L2 penalty the loss cannot exceed its largest value, so the threshold lies between the initial loss and
    that value: nearly all labels are predicted wrong with certainty. With a penalty, weights that grow without bound
    exceed it too.

    Args:
        task: what is trained.
        initial_loss: plain validation loss before training.
        worst: largest training loss of the images of the step. Balanced weights of rare labels, label smoothing and
            unknown labels make it smaller for some batches. Therefore `initial_loss` enters as a fraction of the plain
            largest loss.
        penalty: L2 penalty before training.
    """
    start = max(initial_loss, task.chance_loss) / task.max_loss
    return worst * (start + DIVERGENCE_FRACTION * (1 - start)) + PENALTY_FACTOR * penalty
