"""Images sorted by score, and the areas under their ROC and precision-recall curves under many weightings at once.

The images are sorted once. A bootstrap resample is then a weight for each image, and an area is a cumulative sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """Images with known ground truth for one label, highest score first.

    Attributes:
        rows: (n,) position of each image in the input arrays.
        truth: (n,) 0.0 or 1.0.
        scores: (n,) 0 to 1, descending.
        ends: (k,) last position of every run of equal scores, ascending.
    """

    rows: IntArray
    truth: FloatArray
    scores: FloatArray
    ends: IntArray

    @property
    def positives(self) -> int:
        return int(self.truth.sum())

    @property
    def negatives(self) -> int:
        return len(self.truth) - self.positives

    @property
    def has_both_classes(self) -> bool:
        return 0 < self.positives < len(self.truth)


def rank_scores(truth: ArrayLike, scores: ArrayLike) -> Ranking:
    """Sorts the images with known ground truth by descending score.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Raises:
        ValueError: if the lengths differ, a truth is not 0, 1 or NaN, or the score of an image with known truth is
            outside 0 to 1.
    """
    all_truth, all_scores = np.asarray(truth, np.float64), np.asarray(scores, np.float64)
    _check_inputs(all_truth, all_scores)
    known = np.flatnonzero(~np.isnan(all_truth))
    rows = known[np.argsort(-all_scores[known], kind="stable")]
    ordered = all_scores[rows]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(rows) else rows
    return Ranking(rows, all_truth[rows], ordered, ends)


def _check_inputs(truth: FloatArray, scores: FloatArray) -> None:
    if truth.ndim != 1 or truth.shape != scores.shape:
        raise ValueError(f"truth and scores must be vectors of equal length, got shapes {truth.shape}, {scores.shape}")
    known = ~np.isnan(truth)
    invalid = truth[known & (truth != 0) & (truth != 1)]
    if len(invalid):
        raise ValueError(f"truth must be 0, 1 or NaN for unknown, got {invalid[0]}")
    out_of_range = scores[known & ~((scores >= 0) & (scores <= 1))]
    if len(out_of_range):
        raise ValueError(f"scores must be between 0 and 1, got {out_of_range[0]}")


def require_both_classes(ranking: Ranking) -> None:
    """Raises ValueError if a class is missing."""
    if not ranking.has_both_classes:
        raise ValueError(
            f"a threshold or ROC curve needs images of both classes, got {ranking.positives} positive and "
            f"{ranking.negatives} negative; leave the label out or enlarge the split"
        )


def roc_vertices(ranking: Ranking) -> IntArray:
    """Returns the ends at which the ROC curve can bend: all but those within a run of negatives.

    Dropping the others changes no area under any weighting and shortens the curve of a rare label many times.
    """
    true_positives = np.cumsum(ranking.truth)[ranking.ends]
    gains = np.diff(true_positives, prepend=0.0) > 0
    bends: IntArray = ranking.ends[gains | np.append(gains[1:], True)]
    return bends


def cumulative_counts(ranking: Ranking, ends: IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Counts true and false positives if all images up to each end are predicted positive.

    Args:
        ranking: n images with known truth.
        ends: (k,) positions in the ranking, ascending.
        weights: (b, rows) the number of times that each image of the input arrays counts, in each of b weightings.

    Returns:
        True and false positives, each (b, k + 1). The first column, nothing predicted positive, is 0.
    """
    known = np.take(weights, ranking.rows, axis=1)
    true_positives = np.cumsum(known * ranking.truth, axis=1)[:, ends]
    predicted_positives = np.cumsum(known, axis=1)[:, ends]
    zero = np.zeros((len(weights), 1))
    return np.hstack([zero, true_positives]), np.hstack([zero, predicted_positives - true_positives])


def area_under_roc(true_positives: FloatArray, false_positives: FloatArray) -> FloatArray:
    """Computes the AUROC by the trapezoidal rule, which counts a tie as half (Hanley and McNeil 1982).

    Args:
        true_positives, false_positives: (b, k + 1) from `cumulative_counts`.

    Returns:
        (b,) 0 to 1; NaN if a weighting lacks a class.
    """
    area = np.asarray(np.trapezoid(true_positives, false_positives, axis=1))
    return safe_ratio(area, true_positives[:, -1] * false_positives[:, -1])


def average_precision(true_positives: FloatArray, false_positives: FloatArray) -> FloatArray:
    """Computes the average precision, the sum of recall gain times precision, without interpolation.

    This is scikit-learn's definition.

    Args:
        true_positives, false_positives: (b, k + 1) from `cumulative_counts`.

    Returns:
        (b,) 0 to 1; NaN if a weighting lacks positives.
    """
    predicted_positives = true_positives + false_positives
    precision = np.divide(
        true_positives, predicted_positives, out=np.zeros_like(predicted_positives), where=predicted_positives > 0
    )
    gains = np.diff(true_positives, axis=1)
    return safe_ratio((gains * precision[:, 1:]).sum(axis=1), true_positives[:, -1])


def safe_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divides element by element; NaN where the denominator is zero."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
