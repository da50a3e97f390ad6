"""One label of one split: its ranked images, their statistics under any weighting, and what is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from radiograft.metrics import delong
from radiograft.metrics.bootstrap import NOT_ESTIMABLE, Estimate, percentile_interval
from radiograft.metrics.ranking import (
    FloatArray,
    IntArray,
    Ranking,
    area_under_roc,
    average_precision,
    cumulative_counts,
    rank_scores,
    roc_vertices,
    safe_ratio,
)

STATISTICS = ("auroc", "average_precision", "accuracy", "sensitivity", "specificity", "ppv", "npv", "f1", "brier")
NEEDS_BOTH_CLASSES = ("auroc", "average_precision")  # of a label that is not estimable


class LabelMetrics(TypedDict):
    """One label in one split. Counts cover the images whose truth is known.

    `estimable` is False when the split has too few patients with or without the label, or no threshold was given; AUROC
    and average precision are then None. The other figures need a threshold and the images that they are shares of.
    `auroc` has the interval of resampled patients, `auroc_delong` DeLong's (see `delong.area`).
    `ppv` and `npv` are the shares of true calls among the positive and the negative calls, `f1` is the harmonic mean of
    `ppv` and `sensitivity`; these three are None where the split lacks a class. `brier` is the mean squared distance of
    score and truth, 0 to 1, less is better.
    `majority_accuracy` is the accuracy of always giving the more frequent answer.
    `confusion` is [[true negatives, false positives], [false negatives, true positives]].
    """

    n_images: int
    n_patients: int
    positives: int
    positive_patients: int
    negative_patients: int
    auroc: Estimate
    auroc_delong: Estimate
    average_precision: Estimate
    accuracy: Estimate
    majority_accuracy: float | None
    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate
    npv: Estimate
    f1: Estimate
    brier: Estimate
    threshold: float | None
    confusion: list[list[int]] | None
    estimable: bool


@dataclass(frozen=True)
class RankedLabel:
    """A label ready to be weighed.

    Attributes:
        ranking: its images with a known truth.
        patients: (n,) number of the patient of each ranked image.
        threshold: at or above it an image is called positive; None if validation could not choose one.
        ends: where the curves are evaluated, the threshold's place among them.
        cut: column of `cumulate` that belongs to the threshold.
        fewest_patients: with, and without the label, below which it is not estimable.
        squared_errors: (rows,) squared distance of score and truth, 0 where the truth is unknown.
    """

    ranking: Ranking
    patients: IntArray
    threshold: float | None
    ends: IntArray
    cut: int
    fewest_patients: int
    squared_errors: FloatArray

    @property
    def estimable(self) -> bool:
        held = min(self.count_patients(1.0), self.count_patients(0.0))
        return self.threshold is not None and held >= self.fewest_patients

    @property
    def n_patients(self) -> int:
        return len(np.unique(self.patients))

    def count_patients(self, truth: float) -> int:
        """Patients with an image of this truth."""
        return len(np.unique(self.patients[self.ranking.truth == truth]))


def rank_label(
    truth: ArrayLike, scores: ArrayLike, patients: IntArray, threshold: float | None, fewest_patients: int = 1
) -> RankedLabel:
    """Rank one label's images and find the threshold's place among them.

    Raises:
        ValueError: as `rank`.
    """
    ranking = rank_scores(truth, scores)
    called = 0 if threshold is None else int(np.count_nonzero(ranking.scores >= threshold))
    ends = np.union1d(roc_vertices(ranking), [called - 1] if called else []).astype(np.int64)
    cut = int(np.searchsorted(ends, called - 1, side="right"))
    errors = np.zeros(np.size(truth))
    errors[ranking.rows] = (ranking.scores - ranking.truth) ** 2
    return RankedLabel(ranking, patients[ranking.rows], threshold, ends, cut, fewest_patients, errors)


def compute_statistics(label: RankedLabel, weights: FloatArray) -> FloatArray:
    """STATISTICS of a label under b weightings.

    Args:
        weights: (b, n) how often each image of the split counts.

    Returns:
        (b, 9); NaN where a weighting lacks the images that a statistic needs, everywhere without a threshold.
    """
    if label.threshold is None:
        return np.full((len(weights), len(STATISTICS)), np.nan)
    true_positives, false_positives = cumulative_counts(label.ranking, label.ends, weights)
    positives, negatives = true_positives[:, -1], false_positives[:, -1]
    hits, false_alarms = true_positives[:, label.cut], false_positives[:, label.cut]
    calls, known = hits + false_alarms, positives + negatives
    both = (positives > 0) & (negatives > 0)  # else each call of the one class is right, and none of the other
    columns = [
        area_under_roc(true_positives, false_positives),
        np.where(negatives > 0, average_precision(true_positives, false_positives), np.nan),
        safe_ratio(hits + negatives - false_alarms, known),
        safe_ratio(hits, positives),
        safe_ratio(negatives - false_alarms, negatives),
        np.where(both, safe_ratio(hits, calls), np.nan),
        np.where(both, safe_ratio(negatives - false_alarms, known - calls), np.nan),
        np.where(both, safe_ratio(2 * hits, positives + calls), np.nan),
        # Not `weights @ ...`, for which BLAS would set all cores spinning beside the bootstrap's threads.
        safe_ratio(np.einsum("bn,n->b", weights, label.squared_errors), known),
    ]
    return np.stack(columns, axis=1)


def summarize_label(label: RankedLabel, statistics: FloatArray) -> LabelMetrics:
    """What is reported of a label.

    Args:
        statistics: (1 + samples, 9) from `weigh`, the first row under equal weights.
    """
    if label.n_patients < 2:
        statistics = statistics[:1]
    estimates = {name: percentile_interval(values) for name, values in zip(STATISTICS, statistics.T, strict=True)}
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
        "auroc_delong": _delong(label),
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
        "confusion": _confusion(label.ranking, label.threshold),
        "estimable": label.estimable,
    }


def _delong(label: RankedLabel) -> Estimate:
    if not label.estimable:
        return NOT_ESTIMABLE
    return delong.auroc_interval(label.ranking.truth, label.ranking.scores, label.patients)


def _confusion(ranking: Ranking, threshold: float | None) -> list[list[int]] | None:
    if threshold is None:
        return None
    called = ranking.scores >= threshold
    hits, false_alarms = int(ranking.truth[called].sum()), int((1 - ranking.truth[called]).sum())
    return [[ranking.negatives - false_alarms, false_alarms], [ranking.positives - hits, hits]]
