"""Boxes as a second target of a head that pools a class map (Li et al. 2018).

Targets and outputs hold the labels first, then the positions of the class map. Only images with a box of a label have
targets at its positions; all others learn from their labels alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from radiograft.config.training import Recipe
from radiograft.training.tasks.base import MeasuredLoss, Monitor, TrainingTask
from radiograft.training.tasks.multilabel import EPSILON


@dataclasses.dataclass(frozen=True)
class BoxTask:
    """A task whose outputs are followed by the logits of a class map; see `TrainingTask`.

    Attributes:
        task: the task of the labels, which are independent.
        labels: number of labels.
        weight: of the loss at the positions, relative to that of the labels.
    """

    task: TrainingTask
    labels: int
    weight: float

    @property
    def activation(self) -> str:
        return self.task.activation

    @property
    def monitor(self) -> Monitor:
        return self.task.monitor

    @property
    def max_loss(self) -> float:
        return self.task.max_loss

    @property
    def chance_loss(self) -> float:
        return self.task.chance_loss

    def loss(self, truth: np.ndarray, recipe: Recipe) -> BoxLoss:
        return BoxLoss(self.task.loss(truth[:, : self.labels], recipe), self.labels, self.weight)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [_OfLabels(metric, self.labels) for metric in self.task.metrics()]

    def evaluate(self, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        return self.task.evaluate(truth[:, : self.labels], scores[:, : self.labels])

    def format(self, metrics: Mapping[str, float]) -> str:
        return self.task.format(metrics)


class BoxLoss(keras.losses.Loss):  # type: ignore[misc]
    """The loss of the labels plus a weighted mean binary cross-entropy over the positions with a target.

    Li et al. sum over the positions; the mean does not depend on the resolution of the map.

    Args:
        loss: of the labels.
        labels: number of labels.
        weight: of the mean over the positions.
    """

    def __init__(self, loss: MeasuredLoss, labels: int, weight: float) -> None:
        super().__init__(name="labels_and_boxes")
        self.base, self.labels, self.weight = loss, labels, weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, float32 [n]."""
        count = self.labels
        of_labels = self.base.call(y_true[:, :count], y_pred[:, :count])
        return of_labels + self.weight * _mean_entropy(y_true[:, count:], y_pred[:, count:])

    def worst(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the largest loss: every label and position with a target is predicted wrong with certainty."""
        count = self.labels
        known = ops.any(ops.logical_not(ops.isnan(y_true[:, count:])), axis=-1)
        at_positions = -float(np.log(EPSILON)) * ops.cast(known, "float32")
        return self.base.worst(y_true[:, :count], y_pred[:, :count]) + self.weight * at_positions


def _mean_entropy(targets: Any, logits: Any) -> Any:
    """Returns the mean binary cross-entropy over the positions with a target, float32 [n]; 0 if there is none."""
    known = ops.logical_not(ops.isnan(targets))
    entropy = ops.softplus(logits) - ops.where(known, targets, 0.0) * logits
    bounded = ops.minimum(entropy, -float(np.log(EPSILON)))
    total = ops.sum(ops.where(known, bounded, 0.0), axis=-1)
    return total / ops.maximum(ops.sum(ops.cast(known, "float32"), axis=-1), 1.0)


class _OfLabels(keras.metrics.Metric):  # type: ignore[misc]
    """A metric of the labels alone."""

    def __init__(self, metric: keras.metrics.Metric, labels: int) -> None:
        super().__init__(name=metric.name)
        self._metric, self._labels = metric, labels

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return self._metric.update_state(y_true[:, : self._labels], y_pred[:, : self._labels], sample_weight)

    def result(self) -> Any:
        return self._metric.result()

    def reset_state(self) -> None:
        self._metric.reset_state()
