"""The multilabel task: independent binary labels, each of which may be unknown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import keras
import numpy as np

from radiograft.config.recipe import Recipe
from radiograft.training.losses import (
    EPSILON,
    MaskedCrossEntropy,
    class_weights,
    masked_accuracy,
    validation_metrics,
)
from radiograft.training.tasks.base import AUROC, Monitor


@dataclasses.dataclass(frozen=True)
class MultilabelTask:
    """One sigmoid a label, masked binary cross-entropy, monitored by mean AUROC; see `TrainingTask`."""

    activation: str = "sigmoid"
    monitor: Monitor = AUROC
    max_loss: float = -math.log(EPSILON)
    chance_loss: float = math.log(2)

    def loss(self, truth: np.ndarray, recipe: Recipe) -> MaskedCrossEntropy:
        return MaskedCrossEntropy(class_weights(truth, recipe.loss_weights == "balanced"), recipe.label_smoothing)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanMetricWrapper(masked_accuracy, name="accuracy")]

    def evaluate(self, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        return validation_metrics(truth, scores)

    def format(self, metrics: Mapping[str, float]) -> str:
        return f"validation AUROC {metrics['val_auroc']:.4f}, loss {metrics['val_loss']:.4f}"
