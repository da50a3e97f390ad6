"""The multilabel task: independent binary labels, each of which may be unknown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from radiograft.config.training import Recipe
from radiograft.data.catalog import has_both_classes
from radiograft.metrics.multilabel import auroc
from radiograft.training.tasks.base import AUROC, Monitor

EPSILON = 1e-7  # as in Keras; keeps the logarithm finite


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


class MaskedCrossEntropy(keras.losses.Loss):  # type: ignore[misc]
    """Mean binary cross-entropy over the known labels of an image; 0 if no label is known.

    Args:
        weights: weights of absent and present labels, float32 [2, labels]; see `class_weights`.
        smoothing: label smoothing, 0 to 0.5: the target t becomes t (1 - smoothing) + smoothing / 2 (Szegedy et al.
            2016).
    """

    def __init__(self, weights: np.ndarray, smoothing: float) -> None:
        super().__init__(name="cross_entropy")
        self.weights, self.smoothing = weights.astype("float32"), smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, float32 [n], for labels [n, labels], NaN if unknown, and probabilities."""
        known = ops.logical_not(ops.isnan(y_true))
        truth = ops.where(known, y_true, 0.0)
        weights = ops.where(known, ops.where(truth > 0.5, self.weights[1], self.weights[0]), 0.0)
        targets = truth * (1 - self.smoothing) + self.smoothing / 2
        scores = ops.clip(y_pred, EPSILON, 1 - EPSILON)
        entropy = -(targets * ops.log(scores) + (1 - targets) * ops.log(1 - scores))
        labels = ops.maximum(ops.sum(ops.cast(known, "float32"), axis=-1), 1.0)
        return ops.sum(entropy * weights, axis=-1) / labels

    def worst(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ARG002
        """Returns the largest value of `call` for these labels: every known label is predicted wrong with certainty."""
        return self.call(y_true, ops.where(y_true > 0.5, 0.0, 1.0))


def class_weights(truth: np.ndarray, balanced: bool) -> np.ndarray:
    """Returns the weights of absent and present labels in the loss, float32 [2, labels].

    Balanced weights are P / (P + N) for absent and N / (P + N) for present labels, where P and N count the images with
    and without the label (CheXNet, Rajpurkar et al. 2017). Otherwise all weights are 1.

    Args:
        truth: float32 [images, labels], NaN where unknown.
        balanced: whether to balance the classes.
    """
    if not balanced:
        return np.ones((2, truth.shape[1]), dtype="float32")
    present = np.nanmean(truth, axis=0)
    return np.stack([present, 1 - present]).astype("float32")


def masked_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns the accuracy at 0.5 over the known labels of each image, float32 [n]; 1 if no label is known."""
    right = ops.logical_or(ops.isnan(y_true), ops.equal(y_true > 0.5, y_pred > 0.5))
    wrong = ops.sum(ops.cast(ops.logical_not(right), "float32"), axis=-1)
    known = ops.sum(ops.cast(ops.logical_not(ops.isnan(y_true)), "float32"), axis=-1)
    return 1.0 - wrong / ops.maximum(known, 1.0)


def validation_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Returns unweighted metrics over all known labels.

    They are `val_loss` (mean cross-entropy), `val_auroc` (see `mean_auroc`) and `val_accuracy` (at 0.5).

    Args:
        truth: labels [images, labels], NaN where unknown.
        scores: probabilities of the same shape.

    Raises:
        ValueError: no label has both classes.
    """
    known = ~np.isnan(truth)
    targets, predicted = truth[known].astype("float64"), scores[known].astype("float64")
    likelihood = np.clip(np.where(targets > 0.5, predicted, 1 - predicted), EPSILON, 1.0)
    return {
        "val_loss": float(-np.log(likelihood).mean()),
        "val_auroc": mean_auroc(truth, scores),
        "val_accuracy": float(((predicted > 0.5) == (targets > 0.5)).mean()),
    }


def mean_auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean AUROC over the labels that have both classes.

    Raises:
        ValueError: no label has both classes.
    """
    labels = [label for label in range(truth.shape[1]) if has_both_classes(truth[:, label])]
    if not labels:
        raise ValueError("validation must hold images with and without a finding, but no label has both classes")
    return float(np.mean([auroc(truth[:, label], scores[:, label]) for label in labels]))
