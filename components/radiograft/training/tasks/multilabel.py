"""The multilabel task: independent binary labels, each of which may be unknown, or soft: the mean of several votes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from radiograft.config.training import Recipe
from radiograft.data.catalog import has_both_classes
from radiograft.data.soft_labels import TIE, majority_class
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

    The loss at a soft label is the mean loss over the votes of which it is the mean.

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
        present = ops.where(known, y_true, 0.0) * self.weights[1]
        absent = ops.where(known, 1.0 - y_true, 0.0) * self.weights[0]
        scores = ops.clip(y_pred, EPSILON, 1 - EPSILON)
        right, wrong = 1 - self.smoothing / 2, self.smoothing / 2
        if_present, if_absent = -ops.log(scores), -ops.log(1 - scores)
        entropy = present * (right * if_present + wrong * if_absent) + absent * (wrong * if_present + right * if_absent)
        labels = ops.maximum(ops.sum(ops.cast(known, "float32"), axis=-1), 1.0)
        return ops.sum(entropy, axis=-1) / labels

    def worst(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ARG002
        """Returns the largest value of `call` for these labels: every known label is predicted wrong with certainty."""
        return self.call(y_true, ops.where(y_true * self.weights[1] > (1 - y_true) * self.weights[0], 0.0, 1.0))


def class_weights(truth: np.ndarray, balanced: bool) -> np.ndarray:
    """Returns the weights of absent and present labels in the loss, float32 [2, labels].

    Balanced weights are P / (P + N) for absent and N / (P + N) for present labels, where P and N count the images with
    and without the label (CheXNet, Rajpurkar et al. 2017), of which a soft label is part of one. Otherwise all weights
    are 1.

    Args:
        truth: float32 [images, labels], 0 to 1, NaN where unknown.
        balanced: whether to balance the classes.
    """
    if not balanced:
        return np.ones((2, truth.shape[1]), dtype="float32")
    present = np.nanmean(truth, axis=0)
    return np.stack([present, 1 - present]).astype("float32")


def masked_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns the accuracy at 0.5 over the labels of each image that have a class, float32 [n]; 1 if none has one."""
    known = ops.abs(y_true - TIE) > 0  # neither NaN nor a tie
    is_wrong = ops.logical_and(known, ops.not_equal(y_true > TIE, y_pred > 0.5))
    wrong, labels = (ops.sum(ops.cast(mask, "float32"), axis=-1) for mask in (is_wrong, known))
    return 1.0 - wrong / ops.maximum(labels, 1.0)


def validation_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Returns unweighted metrics over all known labels.

    They are `val_loss` (mean cross-entropy), `val_auroc` (see `mean_auroc`) and `val_accuracy` (at 0.5). The last two
    need classes, see `majority_class`.

    Args:
        truth: labels [images, labels], 0 to 1, NaN where unknown.
        scores: probabilities of the same shape.

    Raises:
        ValueError: no label has both classes.
    """
    known = ~np.isnan(truth)
    targets, predicted = truth[known].astype("float64"), scores[known].astype("float64")
    classes = majority_class(pd.DataFrame(truth)).to_numpy()
    has_class = ~np.isnan(classes)
    likelihoods = (np.log(np.clip(likelihood, EPSILON, 1.0)) for likelihood in (predicted, 1 - predicted))
    if_present, if_absent = likelihoods
    return {
        "val_loss": float(-(targets * if_present + (1 - targets) * if_absent).mean()),
        "val_auroc": mean_auroc(classes, scores),
        "val_accuracy": float(((scores > 0.5) == (classes > TIE))[has_class].mean()),
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
