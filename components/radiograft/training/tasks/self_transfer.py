"""Two heads that train together; the localization head learns from the classification head (Hwang and Kim 2016).

Outputs hold the scores of the classification head, then those of the localization head. Both have the same targets.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from radiograft.config.training import Recipe
from radiograft.models.class_maps import SelfTransfer, localization_scores
from radiograft.training.tasks.base import MeasuredLoss, TrainingTask
from radiograft.training.tasks.boxes import BoxTask


class SelfTransferLoss(keras.losses.Loss):  # type: ignore[misc]
    """(1 - weight) times the loss of the classification head plus weight times that of the localization head.

    Args:
        loss: of the labels.
        labels: number of labels.
        weight: a of Hwang and Kim, 0 to 1.
    """

    def __init__(self, loss: MeasuredLoss, labels: int, weight: float) -> None:
        super().__init__(name="self_transfer")
        self.base, self.labels, self.weight = loss, labels, weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, float32 [n]."""
        classified, localized = y_pred[:, : self.labels], y_pred[:, self.labels :]
        return (1 - self.weight) * self.base.call(y_true, classified) + self.weight * self.base.call(y_true, localized)

    def worst(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the largest loss: both heads are wrong with certainty."""
        return self.base.worst(y_true, y_pred[:, : self.labels])


class SelfTransferTask(BoxTask):
    """A task whose outputs are followed by the scores of a localization head; see `TrainingTask`."""

    def loss(self, truth: np.ndarray, recipe: Recipe) -> SelfTransferLoss:
        return SelfTransferLoss(self.task.loss(truth, recipe), self.labels, self.weight)


def train_both_heads(model: keras.Model, task: TrainingTask) -> tuple[keras.Model, TrainingTask]:
    """Returns what trains both heads of a network that has two; any other network and its task are unchanged."""
    layer = next((layer for layer in model.layers if isinstance(layer, SelfTransfer)), None)
    if layer is None:
        return model, task
    join = keras.layers.Concatenate(dtype="float32", name="both_heads")
    scores = model.outputs[0]  # the part of a network behind a cut-off has a list of one output
    extended = keras.Model(model.input, join([scores, localization_scores(model)]), name=model.name)
    return extended, SelfTransferTask(task, int(scores.shape[-1]), layer.weight)
