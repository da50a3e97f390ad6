"""Images sorted by score, and the areas under the curves that follow, for many weightings at once.

Sorting happens once. A bootstrap resample is then nothing but another weight for each image, and each
area a cumulative sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Ranking:
    """The images of one label whose truth is known, highest score first.

    Attributes:
        rows: (n,) position of each image in the arrays that were ranked.
        truth: (n,) 0.0 or 1.0.
        scores: (n,) 0 to 1, falling.
        ends: (k,) the last position of every run of equal scores, rising.
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
    """Sort the images with a known truth by falling score.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Raises:
        ValueError: lengths differ, a truth is not 0, 1 or NaN, or a known image's score is outside 0 to 1.
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
        raise ValueError(f"truth and scores must be columns of one length, got {truth.shape} and {scores.shape}")
    known = ~np.isnan(truth)
    strange = truth[known & (truth != 0) & (truth != 1)]
    if len(strange):
        raise ValueError(f"truth must be 0, 1 or NaN for unknown, got {strange[0]}")
    outside = scores[known & ~((scores >= 0) & (scores <= 1))]
    if len(outside):
        raise ValueError(f"scores must lie between 0 and 1, got {outside[0]}")


def require_both_classes(ranking: Ranking) -> None:
    """Raises ValueError where a class is missing."""
    if not ranking.has_both_classes:
        raise ValueError(
            f"a threshold or ROC curve needs images of both classes, got {ranking.positives} positive and "
            f"{ranking.negatives} negative; leave the label out or enlarge the split"
        )


def roc_vertices(ranking: Ranking) -> IntArray:
    """The ends where a curve can bend: all but those inside a run of negatives.

    Leaving the others out changes no area under any weighting, and shortens a rare label's curve many times.
    """
    true_positives = np.cumsum(ranking.truth)[ranking.ends]
    gains = np.diff(true_positives, prepend=0.0) > 0
    bends: IntArray = ranking.ends[gains | np.append(gains[1:], True)]
    return bends


def cumulative_counts(ranking: Ranking, ends: IntArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """True and false positives when everything up to each end is called positive.

    Args:
        ranking: n known images.
        ends: (k,) positions in the ranking, rising.
        weights: (b, rows) how often each image of the ranked arrays counts, in each of b weightings.

    Returns:
        Two arrays (b, k + 1); the first column, nothing called, is 0.
    """
    known = np.take(weights, ranking.rows, axis=1)
    true_positives = np.cumsum(known * ranking.truth, axis=1)[:, ends]
    called = np.cumsum(known, axis=1)[:, ends]
    zero = np.zeros((len(weights), 1))
    return np.hstack([zero, true_positives]), np.hstack([zero, called - true_positives])


def area_under_roc(true_positives: FloatArray, false_positives: FloatArray) -> FloatArray:
    """AUROC by the trapezoid rule, which gives half credit to a tie (Hanley and McNeil 1982).

    Args:
        true_positives, false_positives: (b, k + 1) from `cumulate`.

    Returns:
        (b,) 0 to 1; NaN where a weighting lacks a class.
    """
    area = np.asarray(np.trapezoid(true_positives, false_positives, axis=1))
    return safe_ratio(area, true_positives[:, -1] * false_positives[:, -1])


def average_precision(true_positives: FloatArray, false_positives: FloatArray) -> FloatArray:
    """Sum of (recall gained at a score) x (precision there), without interpolation, as in scikit-learn.

    Args:
        true_positives, false_positives: (b, k + 1) from `cumulate`.

    Returns:
        (b,) 0 to 1; NaN where a weighting lacks positives.
    """
    called = true_positives + false_positives
    precision = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
    gained = np.diff(true_positives, axis=1)
    return safe_ratio((gained * precision[:, 1:]).sum(axis=1), true_positives[:, -1])


def safe_ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Element by element, NaN where the denominator is zero."""
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
