"""Cross-entropy for labels that may be unknown, rare or doubtful, and the same figures as plain numbers."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from radiograft.data.catalog import has_both_classes
from radiograft.metrics.multilabel import auroc

EPSILON = 1e-7  # Keras's own, keeps the logarithm finite


class MaskedCrossEntropy(keras.losses.Loss):  # type: ignore[misc]
    """Binary cross-entropy over the known labels of an image; an image without any counts as 0.

    Args:
        weights: float32 [2, labels], what an absent and a present label count; see `class_weights`.
        smoothing: 0 to 0.5; truth t becomes t (1 - smoothing) + smoothing / 2 (Szegedy et al. 2016).
    """

    def __init__(self, weights: np.ndarray, smoothing: float) -> None:
        super().__init__(name="cross_entropy")
        self.weights, self.smoothing = weights.astype("float32"), smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Truth [n, labels] of 0, 1 and NaN for unknown, probabilities [n, labels]: float32 [n]."""
        known = ops.logical_not(ops.isnan(y_true))
        truth = ops.where(known, y_true, 0.0)
        counted = ops.where(known, ops.where(truth > 0.5, self.weights[1], self.weights[0]), 0.0)
        wanted = truth * (1 - self.smoothing) + self.smoothing / 2
        found = ops.clip(y_pred, EPSILON, 1 - EPSILON)
        entropy = -(wanted * ops.log(found) + (1 - wanted) * ops.log(1 - found))
        labels = ops.maximum(ops.sum(ops.cast(known, "float32"), axis=-1), 1.0)
        return ops.sum(entropy * counted, axis=-1) / labels

    def worst(self, y_true: Any, y_pred: Any) -> Any:  # noqa: ARG002
        """What `call` cannot exceed, with the same arguments: every known label is called wrong for certain."""
        return self.call(y_true, ops.where(y_true > 0.5, 0.0, 1.0))


def class_weights(truth: np.ndarray, balanced: bool) -> np.ndarray:
    """What an absent and a present label count, float32 [2, labels].

    Balanced: P / (P + N) for absent and N / (P + N) for present (CheXNet, Rajpurkar et al. 2017), else 1.

    Args:
        truth: float32 [images, labels], NaN where unknown.
    """
    if not balanced:
        return np.ones((2, truth.shape[1]), dtype="float32")
    present = np.nanmean(truth, axis=0)
    return np.stack([present, 1 - present]).astype("float32")


def masked_accuracy(y_true: Any, y_pred: Any) -> Any:
    """Part of an image's known labels that are called right at 0.5, float32 [n]; 1 where none is known."""
    right = ops.logical_or(ops.isnan(y_true), ops.equal(y_true > 0.5, y_pred > 0.5))
    wrong = ops.sum(ops.cast(ops.logical_not(right), "float32"), axis=-1)
    known = ops.sum(ops.cast(ops.logical_not(ops.isnan(y_true)), "float32"), axis=-1)
    return 1.0 - wrong / ops.maximum(known, 1.0)


def validation_metrics(truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Plain figures over all known labels: `val_loss` (mean cross-entropy), `val_auroc`, `val_accuracy` at 0.5.

    Args:
        truth: [images, labels] of 0, 1 and NaN for unknown; scores: probabilities of the same shape.

    Raises:
        ValueError: no label has both classes.
    """
    known = ~np.isnan(truth)
    wanted, found = truth[known].astype("float64"), scores[known].astype("float64")
    likely = np.clip(np.where(wanted > 0.5, found, 1 - found), EPSILON, 1.0)
    return {
        "val_loss": float(-np.log(likely).mean()),
        "val_auroc": mean_auroc(truth, scores),
        "val_accuracy": float(((found > 0.5) == (wanted > 0.5)).mean()),
    }


def mean_auroc(truth: np.ndarray, scores: np.ndarray) -> float:
    """Mean over the labels that have both classes.

    Raises:
        ValueError: there is none.
    """
    able = [label for label in range(truth.shape[1]) if has_both_classes(truth[:, label])]
    if not able:
        raise ValueError("validation must hold images with and without a finding, got none that has both")
    return float(np.mean([auroc(truth[:, label], scores[:, label]) for label in able]))
