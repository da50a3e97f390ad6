"""Exclusive classes: their truth and scores in a table of predictions, and the decision for the highest score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.ranking import FloatArray, IntArray

# A float32 softmax underflows to 0, whose logarithm is infinite. scikit-learn clips float32 scores at the same value.
MIN_SCORE = float(np.finfo(np.float32).eps)
MAX_LOSS = -float(np.log(MIN_SCORE))
UNKNOWN_CLASS = -1
SUM_TOLERANCE = 0.02  # a softmax in bfloat16 rounds each score by up to 0.4%


class ExclusiveClasses(NamedTuple):
    """What the metrics of exclusive classes need beyond the predictions.

    Attributes:
        majority: the most frequent class of the training images.
        ordered: whether the order of the labels is meaningful, as with grades of a disease; kappa is then computed.
    """

    majority: str
    ordered: bool = False


@dataclass(frozen=True)
class DecidedClasses:
    """Images of known class, sorted by truth and prediction, prepared for `compute_class_statistics`.

    Attributes:
        names: the classes.
        classes: the majority class, and whether the classes are ordered.
        rows: (n,) position of each image among the rows of the input.
        cells: (n,) truth times number of classes plus prediction, ascending.
        patients: (n,) patient code of each image.
        squared_errors: (rows,) squared distance between scores and one-hot truth, 0 for unknown classes.
        log_losses: (rows,) negative logarithm of the true class's score, 0 for unknown classes.
        min_patients: a class with fewer patients gets exact intervals in its row of the confusion matrix.
    """

    names: tuple[str, ...]
    classes: ExclusiveClasses
    rows: IntArray
    cells: IntArray
    patients: IntArray
    squared_errors: FloatArray
    log_losses: FloatArray
    min_patients: int

    @property
    def truth(self) -> IntArray:
        return self.cells // len(self.names)

    @property
    def confusion(self) -> IntArray:
        size = len(self.names)
        return np.bincount(self.cells, minlength=size * size).reshape(size, size)

    def count_patients(self, truth: int | None = None) -> int:
        """Returns the number of patients that have an image of a class, or of any known class."""
        return len(np.unique(self.patients if truth is None else self.patients[self.truth == truth]))


def read_classes(predictions: pd.DataFrame, names: Sequence[str]) -> tuple[IntArray, FloatArray]:
    """Returns the class index of each image, -1 if unknown, and the scores (n, classes).

    Args:
        predictions: rows with the columns of `prediction_frame`; the labels are one-hot, or all NaN if unknown.

    Raises:
        ValueError: an image has no class or several, or is known for some labels only.
    """
    one_hot = predictions[[label_column(name) for name in names]].to_numpy("float64")
    is_unknown = np.isnan(one_hot).all(axis=1)
    known = one_hot[~is_unknown]
    is_one_hot = np.isin(known, (0.0, 1.0)).all(axis=1) & (known.sum(axis=1) == 1)
    if not is_one_hot.all():
        raise ValueError(
            "labels of exclusive classes must be 1 for one class and 0 for the others, or NaN for all, got "
            f"{known[~is_one_hot][0].tolist()}"
        )
    truth = np.where(is_unknown, UNKNOWN_CLASS, np.argmax(np.nan_to_num(one_hot), axis=1)).astype(np.int64)
    return truth, predictions[[score_column(name) for name in names]].to_numpy("float64")


def predict_classes(scores: FloatArray) -> IntArray:
    """Returns the index of the highest score of each image, and of equal scores the first."""
    highest: IntArray = np.argmax(scores, axis=1).astype(np.int64)
    return highest


def decide_classes(
    truth: ArrayLike,
    scores: ArrayLike,
    patients: IntArray,
    names: Sequence[str],
    classes: ExclusiveClasses,
    min_patients: int = 1,
) -> DecidedClasses:
    """Predicts the class of every image and sorts the images of known class by cell of the confusion matrix."""
    indices, distribution = np.asarray(truth, np.int64), np.asarray(scores, np.float64)
    _check_classes(indices, distribution, names, classes)
    known = np.flatnonzero(indices != UNKNOWN_CLASS)
    cells = indices[known] * len(names) + predict_classes(distribution[known])
    order = np.argsort(cells, kind="stable")
    squared_errors, log_losses = np.zeros(len(indices)), np.zeros(len(indices))
    squared_errors[known], log_losses[known] = score_losses(indices[known], distribution[known])
    return DecidedClasses(
        tuple(names),
        classes,
        known[order],
        cells[order],
        patients[known[order]],
        squared_errors,
        log_losses,
        min_patients,
    )


def score_losses(truth: IntArray, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Computes the Brier score, 0 to 2 (Brier 1950), and the log loss of each image.

    Args:
        truth: (n,) class indices.
        scores: (n, classes) 0 to 1.
    """
    of_truth = scores[np.arange(len(truth)), truth]
    squared = (scores**2).sum(axis=1) - 2 * of_truth + 1
    return np.maximum(squared, 0.0), -np.log(np.clip(of_truth, MIN_SCORE, 1.0))


def _check_classes(truth: IntArray, scores: FloatArray, names: Sequence[str], classes: ExclusiveClasses) -> None:
    if truth.ndim != 1 or scores.shape != (len(truth), len(names)):
        raise ValueError(
            f"truth must have shape (n,) and scores (n, {len(names)}), got {truth.shape} and {scores.shape}"
        )
    if len(names) < 2 or classes.majority not in names:
        raise ValueError(f"names must be two or more classes with {classes.majority!r}, got {list(names)}")
    invalid = truth[(truth < UNKNOWN_CLASS) | (truth >= len(names))]
    if len(invalid):
        raise ValueError(f"truth must be an index of {len(names)} classes, or -1 for unknown, got {invalid[0]}")
    known = scores[truth != UNKNOWN_CLASS]
    is_distribution = (known >= 0).all(axis=1) & (np.abs(known.sum(axis=1) - 1) <= SUM_TOLERANCE)
    if not is_distribution.all():
        raise ValueError(
            "scores of exclusive classes must be between 0 and 1 and add up to 1, got "
            f"{known[~is_distribution][0].tolist()}: use the output of a softmax"
        )
