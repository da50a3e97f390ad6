"""Metrics of exclusive classes, of which the one with the highest score is predicted, under any weighting of images.

Accuracy, balanced accuracy and kappa follow from the confusion matrix. A bootstrap resample is a weight for each image,
so that its confusion matrix is a sum of weights over the images of each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics import exact_intervals
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.ranking import FloatArray, IntArray, safe_ratio
from radiograft.registry.result_types import ClassMetrics, Estimate

STATISTICS = ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa", "brier", "log_loss")
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


def evaluate_classes(
    truth: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    names: Sequence[str],
    classes: ExclusiveClasses,
    bootstrap_samples: int,
    seed: int,
    min_patients: int = 1,
) -> ClassMetrics:
    """Computes the metrics of exclusive classes with 95% intervals from resampled patients.

    Args:
        truth: (n,) index of each image's class; -1 if unknown.
        scores: (n, classes) 0 to 1, of which each row adds up to 1. The class with the highest score is predicted; of
            equal scores, the first.
        patients: (n,) patient ids.
        names: the classes.
        classes: the majority class of training, and whether the classes are ordered.
        bootstrap_samples: number of resamples; below 40, no intervals are computed.
        seed: seed of the resampling.
        min_patients: a class with fewer patients gets exact intervals in its row of the confusion matrix.

    Raises:
        ValueError: a shape, truth or score is invalid, or an image has no patient.

    Example:
        >>> scores = [[0.7, 0.2, 0.1], [0.3, 0.5, 0.2], [0.4, 0.3, 0.3]]
        >>> classes = ExclusiveClasses("nv")
        >>> evaluate_classes([0, 1, 2], scores, ["a", "b", "c"], ["nv", "mel", "bcc"], classes, 0, 0)["confusion"]
        [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    """
    codes = encode_patients(patients)
    decided = decide_classes(truth, scores, codes, names, classes, min_patients)
    values = bootstrap_by_patient(codes, partial(compute_class_statistics, decided), bootstrap_samples, seed)
    return summarize_classes(decided, values)


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


def compute_class_statistics(decided: DecidedClasses, weights: FloatArray) -> FloatArray:
    """Computes STATISTICS and the shares of the confusion matrix under b weightings.

    Args:
        weights: (b, rows) the number of times that each image counts.

    Returns:
        (b, 6 + classes * classes); NaN if a weighting lacks the images that a statistic needs.
    """
    confusion = _weigh_confusion(decided, weights)
    of_class, known = confusion.sum(axis=2), confusion.sum(axis=(1, 2))
    sensitivities = safe_ratio(np.diagonal(confusion, axis1=1, axis2=2).copy(), of_class)
    is_present = decided.confusion.sum(axis=1) > 0
    columns = [
        safe_ratio(np.trace(confusion, axis1=1, axis2=2), known),
        safe_ratio(of_class[:, decided.names.index(decided.classes.majority)].copy(), known),
        sensitivities[:, is_present].mean(axis=1) if is_present.any() else np.full(len(weights), np.nan),
        _kappa(confusion) if decided.classes.ordered else np.full(len(weights), np.nan),
        # Not `weights @ ...`: BLAS would start threads on all cores beside those of the bootstrap.
        safe_ratio(np.einsum("bn,n->b", weights, decided.squared_errors), known),
        safe_ratio(np.einsum("bn,n->b", weights, decided.log_losses), known),
    ]
    shares = safe_ratio(confusion, np.broadcast_to(of_class[:, :, None], confusion.shape))
    return np.hstack([np.stack(columns, axis=1), shares.reshape(len(weights), -1)])


def _weigh_confusion(decided: DecidedClasses, weights: FloatArray) -> FloatArray:
    """Returns the confusion matrix (b, classes, classes) of each weighting; rows are the truth."""
    size = len(decided.names)
    flat = np.zeros((len(weights), size * size))
    if len(decided.cells):
        present, starts = np.unique(decided.cells, return_index=True)
        flat[:, present] = np.add.reduceat(np.take(weights, decided.rows, axis=1), starts, axis=1)
    return flat.reshape(len(weights), size, size)


def _kappa(confusion: FloatArray) -> FloatArray:
    """Returns Cohen's kappa (1968) with quadratic weights, (b,); NaN if truth and prediction are one class only."""
    observed, expected = _disagreement(confusion)
    return 1 - safe_ratio(observed, expected)


def _disagreement(confusion: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns the mean squared distance of truth and prediction, 0 to 1, as observed and if both were independent."""
    size = confusion.shape[-1]
    distances = (np.subtract.outer(np.arange(size), np.arange(size)) / (size - 1)) ** 2
    known = confusion.sum(axis=(1, 2))
    observed = safe_ratio(np.einsum("bij,ij->b", confusion, distances), known)
    independent = np.einsum("bi,ij,bj->b", confusion.sum(axis=2), distances, confusion.sum(axis=1))
    return observed, safe_ratio(independent, known**2)


def summarize_classes(decided: DecidedClasses, values: FloatArray) -> ClassMetrics:
    """Summarizes the statistics as values with intervals.

    Args:
        values: (1 + samples, 6 + classes * classes) from `compute_class_statistics`; the first row has equal weights.
    """
    if decided.count_patients() < 2:
        values = values[:1]
    estimates = {
        name: percentile_interval(values[:, column], partial(_exact_estimate, decided, name))
        for column, name in enumerate(STATISTICS)
    }
    shares, size = values[:, len(STATISTICS) :], len(decided.names)
    return {
        "names": list(decided.names),
        "n_images": len(decided.cells),
        "n_patients": decided.count_patients(),
        "majority_class": decided.classes.majority,
        "majority_accuracy": estimates["majority_accuracy"],
        "accuracy": estimates["accuracy"],
        "balanced_accuracy": estimates["balanced_accuracy"],
        "kappa": estimates["kappa"] if decided.classes.ordered else None,
        "brier": estimates["brier"],
        "log_loss": estimates["log_loss"],
        "confusion": decided.confusion.tolist(),
        "shares": [_summarize_shares(decided, row, shares[:, row * size : (row + 1) * size]) for row in range(size)],
    }


def _summarize_shares(decided: DecidedClasses, truth: int, values: FloatArray) -> list[Estimate]:
    """Returns the shares of the predictions for the images of one class."""
    n_patients = decided.count_patients(truth)

    def exact(value: float) -> Estimate:
        return exact_intervals.proportion_interval(value, n_patients)

    if len(values) == 1 or not 0 < n_patients < decided.min_patients:
        return [percentile_interval(column, exact) for column in values.T]
    return [exact(float(column[0])) for column in values.T]  # resamples of so few patients vary too little


def _exact_estimate(decided: DecidedClasses, name: str, value: float) -> Estimate:
    """Returns one of STATISTICS with an exact interval, for the case that resampling does not change it."""
    patients = decided.count_patients()
    if name == "balanced_accuracy":
        confusion = decided.confusion
        return exact_intervals.mean_interval(
            [
                exact_intervals.proportion_interval(row[truth] / row.sum(), decided.count_patients(truth))
                for truth, row in enumerate(confusion)
                if row.sum()
            ]
        )
    if name == "kappa":
        observed, expected = (float(column[0]) for column in _disagreement(decided.confusion[None].astype(np.float64)))
        return exact_intervals.kappa_interval(observed, expected, patients)
    return exact_intervals.scaled_interval(value, {"brier": 2.0, "log_loss": MAX_LOSS}.get(name, 1.0), patients)
