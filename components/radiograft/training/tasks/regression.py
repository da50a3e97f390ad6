"""The regression task: numbers in the unit of the data, each of which may be unknown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from radiograft.config.training import Recipe
from radiograft.models.spec import TargetScale
from radiograft.training.tasks.base import R2, Monitor

# Standard deviations of training. A network that predicts numbers this wrong has diverged.
MAX_LOSS = 1000.0
CHANCE_LOSS = 0.42  # mean Huber loss of always predicting the mean of a normally distributed target
MIN_DEVIATION = 1e-6  # relative to the largest value; ingest refuses a target that does not vary


@dataclasses.dataclass(frozen=True)
class RegressionTask:
    """One number a target, Huber loss of standardized targets, monitored by mean R²; see `TrainingTask`.

    Attributes:
        scales: mean and standard deviation of each target in training.
    """

    scales: tuple[TargetScale, ...]
    activation: str = "linear"
    monitor: Monitor = R2
    max_loss: float = MAX_LOSS
    chance_loss: float = CHANCE_LOSS

    def loss(self, truth: np.ndarray, recipe: Recipe) -> MaskedHuber:  # noqa: ARG002
        return MaskedHuber(self._deviations)

    def metrics(self) -> list[keras.metrics.Metric]:
        deviations = self._deviations

        def mae(y_true: Any, y_pred: Any) -> Any:
            return _masked_mean(ops.abs(_standardized_errors(y_true, y_pred, deviations)), y_true)

        return [keras.metrics.MeanMetricWrapper(mae, name="mae")]

    def evaluate(self, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        return validation_metrics(truth, scores, self._deviations)

    def format(self, metrics: Mapping[str, float]) -> str:
        return (
            f"validation R² {metrics['val_r2']:.4f}, mean absolute error {metrics['val_mae']:.4f} standard deviations, "
            f"loss {metrics['val_loss']:.4f}"
        )

    @property
    def _deviations(self) -> np.ndarray:
        return np.array([scale.deviation for scale in self.scales], dtype="float32")


class MaskedHuber(keras.losses.Loss):  # type: ignore[misc]
    """Mean Huber loss (1964) over the known targets of an image, in standard deviations; 0 if none is known.

    The loss is half the squared error up to one standard deviation, and linear beyond.

    Args:
        deviations: standard deviation of each target, float32 [targets].
    """

    def __init__(self, deviations: np.ndarray) -> None:
        super().__init__(name="huber")
        self.deviations = deviations

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, float32 [n], for targets [n, targets], NaN if unknown, and predictions."""
        return _masked_mean(huber(_standardized_errors(y_true, y_pred, self.deviations)), y_true)

    def worst(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ARG002
        """Returns MAX_LOSS for each image with a known target, else 0, float32 [n]: the loss itself has no bound."""
        return _masked_mean(ops.full_like(y_true, MAX_LOSS), y_true)


def fit_scales(truth: np.ndarray) -> tuple[TargetScale, ...]:
    """Returns mean and standard deviation of the known values of each target.

    Args:
        truth: training targets, float32 [images, targets], NaN where unknown.

    Example:
        >>> fit_scales(np.array([[1.0], [3.0], [np.nan]]))
        (TargetScale(mean=2.0, deviation=1.0),)
    """
    values = truth.astype("float64")
    means, deviations = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    smallest = np.maximum(MIN_DEVIATION * np.nanmax(np.abs(values), axis=0), np.finfo("float32").tiny)
    return tuple(map(TargetScale, means.tolist(), np.maximum(deviations, smallest).tolist()))


def huber(errors: Any) -> Any:
    """Returns the Huber loss of standardized errors.

    Example:
        >>> ops.convert_to_numpy(huber(ops.convert_to_tensor([-0.5, 3.0]))).tolist()
        [0.125, 2.5]
    """
    size = ops.abs(errors)
    return ops.where(size <= 1.0, 0.5 * ops.square(errors), size - 0.5)


def _standardized_errors(y_true: Any, y_pred: Any, deviations: np.ndarray) -> Any:
    """Returns prediction minus target in standard deviations; 0 if unknown."""
    return (y_pred - ops.where(ops.isnan(y_true), y_pred, y_true)) / deviations


def _masked_mean(values: Any, y_true: Any) -> Any:
    """Returns the mean of values [n, targets] over the known targets of each image, [n]; 0 if none is known."""
    known = ops.cast(ops.logical_not(ops.isnan(y_true)), "float32")
    return ops.sum(values * known, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


def validation_metrics(truth: np.ndarray, scores: np.ndarray, deviations: np.ndarray) -> dict[str, float]:
    """Returns metrics over all known targets.

    They are `val_loss` (mean Huber loss) and `val_mae` (mean absolute error), both in standard deviations of training,
    and `val_r2` (see `mean_r2`).

    Args:
        truth: targets [images, targets], NaN where unknown.
        scores: predictions of the same shape.
        deviations: standard deviation of each target in training.

    Raises:
        ValueError: no target has two different values.
    """
    errors = (scores.astype("float64") - truth) / deviations
    size = np.abs(errors[~np.isnan(errors)])
    return {
        "val_loss": float(np.where(size <= 1, size**2 / 2, size - 0.5).mean()),
        "val_r2": mean_r2(truth, scores),
        "val_mae": float(size.mean()),
    }


def mean_r2(truth: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean coefficient of determination over the targets with at least two different values.

    Args:
        truth: targets [images, targets], NaN where unknown.
        scores: predictions of the same shape.

    Raises:
        ValueError: no target has two different values.

    Example:
        >>> mean_r2(np.array([[1.0], [2.0], [3.0]]), np.array([[1.0], [2.0], [2.0]]))
        0.5
    """
    values = [
        _r2(column[known], predicted[known])
        for column, predicted in zip(truth.T.astype("float64"), scores.T.astype("float64"), strict=True)
        if len(np.unique(column[known := ~np.isnan(column)])) > 1
    ]
    if not values:
        raise ValueError("validation must hold images with different values of a target, but none varies")
    return float(np.mean(values))


def _r2(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(1 - np.square(predicted - truth).sum() / np.square(truth - truth.mean()).sum())
