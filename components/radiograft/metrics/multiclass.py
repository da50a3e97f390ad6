"""Metrics of exclusive classes, of which the one with the highest score is predicted, under any weighting of images.

Accuracy, balanced accuracy and kappa follow from the confusion matrix. A bootstrap resample is a weight for each image,
so that its confusion matrix is a sum of weights over the images of each cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from radiograft.metrics import exact_intervals
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.class_decisions import MAX_LOSS, DecidedClasses, ExclusiveClasses, decide_classes
from radiograft.metrics.ranking import FloatArray, safe_ratio
from radiograft.registry.result_types import ClassMetrics, Estimate

STATISTICS = ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa", "brier", "log_loss")


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
        >>> metrics = evaluate_classes([0, 1, 2], scores, ["a", "b", "c"], ["nv", "mel", "bcc"], classes, 0, 0)
        >>> accuracy = metrics["accuracy"]
        >>> round(accuracy["value"], 3)
        0.667
    """
    codes = encode_patients(patients)
    decided = decide_classes(truth, scores, codes, names, classes, min_patients)
    values = bootstrap_by_patient(codes, partial(compute_class_statistics, decided), bootstrap_samples, seed)
    return summarize_classes(decided, values)


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
