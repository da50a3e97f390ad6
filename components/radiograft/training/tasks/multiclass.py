"""The multiclass task: every image has exactly one of the classes, or its class is unknown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from radiograft.config.training import Recipe
from radiograft.training.tasks.base import AUROC, Monitor
from radiograft.training.tasks.multilabel import EPSILON, mean_auroc


@dataclasses.dataclass(frozen=True)
class MulticlassTask:
    """A softmax over the classes, masked categorical cross-entropy, monitored by macro AUROC; see `TrainingTask`.

    Attributes:
        classes: number of classes, 2 or more.
    """

    classes: int
    activation: str = "softmax"
    monitor: Monitor = AUROC
    max_loss: float = -math.log(EPSILON)

    @property
    def chance_loss(self) -> float:
        """The loss if all classes have equal scores."""
        return math.log(self.classes)

    def loss(self, truth: np.ndarray, recipe: Recipe) -> MaskedCategoricalCrossEntropy:
        weights = class_weights(truth, recipe.loss_weights == "balanced")
        return MaskedCategoricalCrossEntropy(weights, recipe.label_smoothing)

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanMetricWrapper(masked_accuracy, name="accuracy")]

    def evaluate(self, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        return validation_metrics(truth, scores)

    def format(self, metrics: Mapping[str, float]) -> str:
        return (
            f"validation AUROC {metrics['val_auroc']:.4f}, accuracy {metrics['val_accuracy']:.4f}, "
            f"loss {metrics['val_loss']:.4f}"
        )


class MaskedCategoricalCrossEntropy(keras.losses.Loss):  # type: ignore[misc]
    """Categorical cross-entropy of an image, weighted by its class; 0 if its class is unknown.

    Args:
        weights: weight of each class, float32 [classes]; see `class_weights`.
        smoothing: label smoothing, 0 to 0.5: the target t becomes t (1 - smoothing) + smoothing / classes (Szegedy et
            al. 2016).
    """

    def __init__(self, weights: np.ndarray, smoothing: float) -> None:
        super().__init__(name="cross_entropy")
        self.weights, self.smoothing = weights.astype("float32"), smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns the loss of each image, float32 [n], for one-hot classes [n, classes], NaN if unknown, and scores."""
        known = ops.logical_not(ops.any(ops.isnan(y_true), axis=-1, keepdims=True))
        truth = ops.where(known, y_true, 0.0)
        targets = truth * (1 - self.smoothing) + self.smoothing / len(self.weights)
        entropy = -ops.sum(targets * ops.log(ops.clip(y_pred, EPSILON, 1.0)), axis=-1)
        return entropy * ops.sum(truth * self.weights, axis=-1)  # of an unknown class the weight is 0

    def worst(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ARG002
        """Returns the largest value of `call` for these classes: a wrong class is predicted with certainty.

        The loss is convex in the scores, so its maximum is at a corner of the simplex.
        """
        return self.call(y_true, ops.roll(ops.nan_to_num(y_true), 1, axis=-1))


def class_weights(truth: np.ndarray, balanced: bool) -> np.ndarray:
    """Returns the weight of each class in the loss, float32 [classes].

    Balanced weights are n / (k n_c), as scikit-learn's `balanced`, where n counts the images of known class, k the
    classes that occur, and n_c the images of the class. Their mean over the images is 1. Otherwise all weights are 1.

    Args:
        truth: one-hot classes, float32 [images, classes], NaN where unknown.
        balanced: whether to balance the classes.

    Example:
        >>> class_weights(np.eye(3, dtype="float32")[[0, 0, 0, 0, 1, 2]], balanced=True).tolist()
        [0.5, 2.0, 2.0]
    """
    if not balanced:
        return np.ones(truth.shape[1], dtype="float32")
    counts = np.nansum(truth, axis=0)
    weights: np.ndarray = counts.sum() / (max(np.count_nonzero(counts), 1) * np.maximum(counts, 1.0))
    return weights.astype("float32")


def masked_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Returns for each image, float32 [n], 1 if its class has the highest score or is unknown, else 0."""
    right = ops.equal(ops.argmax(ops.nan_to_num(y_true), axis=-1), ops.argmax(y_pred, axis=-1))
    return ops.cast(ops.logical_or(right, ops.any(ops.isnan(y_true), axis=-1)), "float32")


def validation_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Returns unweighted metrics over the images of known class.

    They are `val_loss` (mean categorical cross-entropy), `val_auroc` (mean over the classes of the AUROC of one class
    against the rest, see `mean_auroc`) and `val_accuracy` (of the class with the highest score).

    Args:
        truth: one-hot classes [images, classes], NaN where unknown.
        scores: probabilities of the same shape.

    Raises:
        ValueError: fewer than two classes occur.
    """
    known = ~np.isnan(truth).any(axis=1)
    classes, predicted = truth[known].argmax(axis=1), scores[known].astype("float64")
    likelihood = np.clip(predicted[np.arange(len(classes)), classes], EPSILON, 1.0)
    return {
        "val_loss": float(-np.log(likelihood).mean()),
        "val_auroc": mean_auroc(truth, scores),
        "val_accuracy": float((predicted.argmax(axis=1) == classes).mean()),
    }
