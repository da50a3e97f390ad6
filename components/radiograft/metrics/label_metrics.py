"""Metrics of one label on one split, under any weighting of the images and with intervals, and its threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from radiograft.config.evaluation import OperatingPoint
from radiograft.data.catalog import label_column, score_column
from radiograft.metrics import delong, exact_intervals
from radiograft.metrics.bootstrap import NOT_ESTIMABLE, percentile_interval
from radiograft.metrics.ranking import (
    FloatArray,
    IntArray,
    Ranking,
    area_under_roc,
    average_precision,
    cumulative_counts,
    rank_scores,
    require_both_classes,
    roc_vertices,
    safe_ratio,
)
from radiograft.registry.result_types import Estimate, LabelMetrics

STATISTICS = ("auroc", "average_precision", "accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "brier")
NEEDS_BOTH_CLASSES = ("auroc", "average_precision")  # withheld if a label is not estimable

YOUDEN = OperatingPoint()


@dataclass(frozen=True)
class RankedLabel:
    """A label prepared for `compute_statistics`.

    Attributes:
        ranking: the images with known truth.
        patients: (n,) patient code of each ranked image.
        threshold: images with a score at or above it are predicted positive; None if validation lacks a class, or if
            the classes are exclusive.
        predicted: (n,) which ranked images are predicted positive; None if nothing decides.
        ends: positions at which the curves are evaluated, including that of the threshold.
        threshold_column: column of `cumulative_counts` that belongs to the threshold.
        min_patients: minimum number of patients with, and without, the label for it to be estimable.
        squared_errors: (rows,) squared difference between score and truth, 0 if the truth is unknown.
    """

    ranking: Ranking
    patients: IntArray
    threshold: float | None
    predicted: NDArray[np.bool_] | None
    ends: IntArray
    threshold_column: int
    min_patients: int
    squared_errors: FloatArray

    @property
    def estimable(self) -> bool:
        smaller_class = min(self.count_patients(1.0), self.count_patients(0.0))
        return self.predicted is not None and smaller_class >= self.min_patients

    @property
    def n_patients(self) -> int:
        return len(np.unique(self.patients))

    def count_patients(self, truth: float) -> int:
        """Returns the number of patients that have an image with this truth."""
        return len(np.unique(self.patients[self.ranking.truth == truth]))


def rank_label(
    truth: ArrayLike,
    scores: ArrayLike,
    patients: IntArray,
    threshold: float | None,
    min_patients: int = 1,
    decision: NDArray[np.bool_] | None = None,
) -> RankedLabel:
    """Ranks the images of one label and locates the threshold among them.

    Args:
        decision: (n,) which images are predicted positive, if the classes are exclusive; no threshold is then needed.

    Raises:
        ValueError: as in `rank_scores`.
    """
    ranking = rank_scores(truth, scores)
    predicted = decision[ranking.rows] if decision is not None else None
    n_above = 0
    if threshold is not None and predicted is None:
        predicted = ranking.scores >= threshold
        n_above = int(np.count_nonzero(predicted))
    ends = np.union1d(roc_vertices(ranking), [n_above - 1] if n_above else []).astype(np.int64)
    column = int(np.searchsorted(ends, n_above - 1, side="right"))
    errors = np.zeros(np.size(truth))
    errors[ranking.rows] = (ranking.scores - ranking.truth) ** 2
    return RankedLabel(ranking, patients[ranking.rows], threshold, predicted, ends, column, min_patients, errors)


def compute_statistics(label: RankedLabel, weights: FloatArray) -> FloatArray:
    """Computes STATISTICS of a label under b weightings.

    Args:
        weights: (b, n) the number of times that each image of the split counts.

    Returns:
        (b, 9); NaN if a weighting lacks the images that a statistic needs, and all NaN if nothing decides.
    """
    if label.predicted is None:
        return np.full((len(weights), len(STATISTICS)), np.nan)
    tp_curve, fp_curve = cumulative_counts(label.ranking, label.ends, weights)
    positives, negatives = tp_curve[:, -1], fp_curve[:, -1]
    if label.threshold is None:
        tp, fp = _count_predicted(label, label.predicted, weights)
    else:
        tp, fp = tp_curve[:, label.threshold_column], fp_curve[:, label.threshold_column]
    tn, predicted, known = negatives - fp, tp + fp, positives + negatives
    both_classes = (positives > 0) & (negatives > 0)  # with one class, PPV and NPV would be 0 or 1 for any model
    columns = [
        area_under_roc(tp_curve, fp_curve),
        np.where(negatives > 0, average_precision(tp_curve, fp_curve), np.nan),
        safe_ratio(tp + tn, known),
        safe_ratio(tp, positives),
        safe_ratio(tn, negatives),
        np.where(both_classes, safe_ratio(tp, predicted), np.nan),
        np.where(both_classes, safe_ratio(tn, known - predicted), np.nan),
        np.where(both_classes, safe_ratio(2 * tp, positives + predicted), np.nan),
        # Not `weights @ ...`: BLAS would start threads on all cores beside those of the bootstrap.
        safe_ratio(np.einsum("bn,n->b", weights, label.squared_errors), known),
    ]
    return np.stack(columns, axis=1)


def _count_predicted(
    label: RankedLabel, predicted: NDArray[np.bool_], weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Counts true and false positives, each (b,), of a decision that is not a threshold."""
    rows, positive = label.ranking.rows, label.ranking.truth == 1
    tp, fp = (np.take(weights, rows[predicted & mask], axis=1).sum(axis=1) for mask in (positive, ~positive))
    return tp, fp


def summarize_label(label: RankedLabel, statistics: FloatArray) -> LabelMetrics:
    """Summarizes the statistics of a label as values with intervals.

    Args:
        statistics: (1 + samples, 9) from `compute_statistics`; the first row has equal weights.
    """
    if label.n_patients < 2:
        statistics = statistics[:1]
    estimates = {
        name: percentile_interval(values, partial(exact_estimate, label, name))
        for name, values in zip(STATISTICS, statistics.T, strict=True)
    }
    if not label.estimable:
        estimates |= dict.fromkeys(NEEDS_BOTH_CLASSES, NOT_ESTIMABLE)
    known = len(label.ranking.truth)
    return {
        "n_images": known,
        "n_patients": label.n_patients,
        "positives": label.ranking.positives,
        "positive_patients": label.count_patients(1.0),
        "negative_patients": label.count_patients(0.0),
        "auroc": estimates["auroc"],
        "auroc_delong": _delong_estimate(label),
        "average_precision": estimates["average_precision"],
        "accuracy": estimates["accuracy"],
        "majority_accuracy": max(label.ranking.positives, label.ranking.negatives) / known if known else None,
        "sensitivity": estimates["sensitivity"],
        "specificity": estimates["specificity"],
        "ppv": estimates["ppv"],
        "npv": estimates["npv"],
        "f1": estimates["f1"],
        "brier": estimates["brier"],
        "threshold": label.threshold,
        "confusion": _confusion_matrix(label),
        "estimable": label.estimable,
    }


def exact_estimate(label: RankedLabel, name: str, value: float) -> Estimate:
    """Returns a value of one of STATISTICS with an exact interval, for the case that resampling does not change it."""
    if name == "auroc":
        classes = (label.count_patients(1.0), label.count_patients(0.0))
        return exact_intervals.auroc_pair_interval(value, *classes, label.n_patients)
    truth = label.ranking.truth == 1
    predicted = label.ranking.scores >= 0 if label.predicted is None else label.predicted
    if name == "f1":
        return exact_intervals.f1_interval(value, len(np.unique(label.patients[truth | predicted])))
    denominators = {
        "average_precision": truth,  # Boyd et al. 2013 take the number of positives, too
        "sensitivity": truth,
        "specificity": ~truth,
        "ppv": predicted,
        "npv": ~predicted,
    }
    mask = denominators.get(name, np.ones_like(truth))
    return exact_intervals.proportion_interval(value, len(np.unique(label.patients[mask])))


def mean_exact_estimate(labels: Sequence[RankedLabel], name: str, values: FloatArray) -> Estimate:
    """Returns the mean over labels of one of STATISTICS with the mean bounds of the labels' exact intervals.

    Args:
        values: (labels,) the statistic of each label.
    """
    pairs = zip(labels, values, strict=True)
    return exact_intervals.mean_interval([exact_estimate(label, name, float(value)) for label, value in pairs])


def _delong_estimate(label: RankedLabel) -> Estimate:
    if not label.estimable:
        return NOT_ESTIMABLE
    return delong.auroc_interval(label.ranking.truth, label.ranking.scores, label.patients)


def _confusion_matrix(label: RankedLabel) -> list[list[int]] | None:
    if label.predicted is None:
        return None
    ranking, predicted = label.ranking, label.predicted
    tp, fp = int(ranking.truth[predicted].sum()), int((1 - ranking.truth[predicted]).sum())
    return [[ranking.negatives - fp, fp], [ranking.positives - tp, tp]]


def choose_threshold(truth: ArrayLike, scores: ArrayLike, point: OperatingPoint = YOUDEN) -> float:
    """Chooses the threshold of one label for an operating point. Use validation data only.

    Youden's index (1950) selects the highest sensitivity + specificity - 1 and, among equals, the lowest threshold,
    which is the most sensitive. A required sensitivity selects the highest threshold that reaches it. The threshold
    lies midway between two neighboring scores, so rounding errors in the scores do not affect predictions.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Returns:
        0 to 1; images with `score >= threshold` are predicted positive.

    Raises:
        ValueError: if a class is missing.

    Example:
        >>> round(choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]), 3)
        0.4
    """
    ranking = rank_scores(truth, scores)
    require_both_classes(ranking)
    true_positives = np.cumsum(ranking.truth)[ranking.ends]
    if point.sensitivity:
        index = _sensitivity_index(ranking, true_positives, point)
    else:
        index = _youden_index(ranking, true_positives)
    levels = np.append(ranking.scores[ranking.ends], 0.0)
    upper, lower = levels[index], levels[index + 1]
    # The midpoint of two adjacent floats may round down to the lower one, which must be predicted negative.
    return float(min(upper, max((upper + lower) / 2, np.nextafter(lower, 1.0))))


def choose_thresholds(
    validation: pd.DataFrame, labels: Sequence[str], point: OperatingPoint = YOUDEN
) -> dict[str, float]:
    """Chooses the threshold of every label that has both classes in validation; other labels are omitted.

    Args:
        validation: predictions with the columns of `prediction_frame`.
    """
    columns = {name: (validation[label_column(name)], validation[score_column(name)]) for name in labels}
    return {
        name: choose_threshold(truth, scores, point)
        for name, (truth, scores) in columns.items()
        if truth.dropna().nunique() == 2
    }


def _youden_index(ranking: Ranking, true_positives: FloatArray) -> int:
    false_positives = ranking.ends + 1 - true_positives
    # Integer arithmetic, so that ties compare as equal.
    gain = true_positives * ranking.negatives - false_positives * ranking.positives
    return len(gain) - 1 - int(np.argmax(gain[::-1]))


def _sensitivity_index(ranking: Ranking, true_positives: FloatArray, point: OperatingPoint) -> int:
    required = math.ceil(point.sensitivity * ranking.positives - 1e-9)  # 0.07 * 100 is slightly more than 7
    return int(np.searchsorted(true_positives, required))
