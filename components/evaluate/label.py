"""One label of one split: its ranked pictures, their statistics under any weighting, and what is reported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import ArrayLike

from components.evaluate.bootstrap import Estimate, estimate
from components.evaluate.ranking import (
    FloatArray,
    IntArray,
    Ranking,
    area_under_roc,
    average_precision,
    corners,
    cumulate,
    rank,
    ratio,
)

STATISTICS = ("auroc", "average_precision", "accuracy", "sensitivity", "specificity")


class LabelMetrics(TypedDict):
    """One label in one split. Counts cover the pictures whose truth is known.

    `estimable` is False when the split lacks a class or no threshold was given; AUROC and average precision are then
    None. Accuracy, sensitivity and specificity need a threshold and the pictures that they are shares of.
    `majority_accuracy` is the accuracy of always giving the more frequent answer.
    `confusion` is [[true negatives, false positives], [false negatives, true positives]].
    """

    n_images: int
    n_patients: int
    positives: int
    auroc: Estimate
    average_precision: Estimate
    accuracy: Estimate
    majority_accuracy: float | None
    sensitivity: Estimate
    specificity: Estimate
    threshold: float | None
    confusion: list[list[int]] | None
    estimable: bool


@dataclass(frozen=True)
class RankedLabel:
    """A label ready to be weighed.

    Attributes:
        ranking: its pictures with a known truth.
        patients: (n,) number of the patient of each ranked picture.
        threshold: at or above it a picture is called positive; None if validation could not choose one.
        ends: where the curves are evaluated, the threshold's place among them.
        cut: column of `cumulate` that belongs to the threshold.
    """

    ranking: Ranking
    patients: IntArray
    threshold: float | None
    ends: IntArray
    cut: int

    @property
    def estimable(self) -> bool:
        return self.threshold is not None and self.ranking.has_both_classes

    @property
    def n_patients(self) -> int:
        return len(np.unique(self.patients))


def rank_label(truth: ArrayLike, scores: ArrayLike, patients: IntArray, threshold: float | None) -> RankedLabel:
    """Rank one label's pictures and find the threshold's place among them.

    Raises:
        ValueError: as `rank`.
    """
    ranking = rank(truth, scores)
    called = 0 if threshold is None else int(np.count_nonzero(ranking.scores >= threshold))
    ends = np.union1d(corners(ranking), [called - 1] if called else []).astype(np.int64)
    cut = int(np.searchsorted(ends, called - 1, side="right"))
    return RankedLabel(ranking, patients[ranking.rows], threshold, ends, cut)


def weigh(label: RankedLabel, weights: FloatArray) -> FloatArray:
    """STATISTICS of a label under b weightings.

    Args:
        weights: (b, n) how often each picture of the split counts.

    Returns:
        (b, 5); NaN where a weighting lacks the pictures that a statistic needs, everywhere without a threshold.
    """
    if label.threshold is None:
        return np.full((len(weights), len(STATISTICS)), np.nan)
    true_positives, false_positives = cumulate(label.ranking, label.ends, weights)
    positives, negatives = true_positives[:, -1], false_positives[:, -1]
    hits, false_alarms = true_positives[:, label.cut], false_positives[:, label.cut]
    columns = [
        area_under_roc(true_positives, false_positives),
        np.where(negatives > 0, average_precision(true_positives, false_positives), np.nan),
        ratio(hits + negatives - false_alarms, positives + negatives),
        ratio(hits, positives),
        ratio(negatives - false_alarms, negatives),
    ]
    return np.stack(columns, axis=1)


def summarise(label: RankedLabel, statistics: FloatArray) -> LabelMetrics:
    """What is reported of a label.

    Args:
        statistics: (1 + samples, 5) from `weigh`, the first row under equal weights.
    """
    if label.n_patients < 2:
        statistics = statistics[:1]
    estimates = {name: estimate(values) for name, values in zip(STATISTICS, statistics.T, strict=True)}
    known = len(label.ranking.truth)
    return {
        "n_images": known,
        "n_patients": label.n_patients,
        "positives": label.ranking.positives,
        "auroc": estimates["auroc"],
        "average_precision": estimates["average_precision"],
        "accuracy": estimates["accuracy"],
        "majority_accuracy": max(label.ranking.positives, label.ranking.negatives) / known if known else None,
        "sensitivity": estimates["sensitivity"],
        "specificity": estimates["specificity"],
        "threshold": label.threshold,
        "confusion": _confusion(label.ranking, label.threshold),
        "estimable": label.estimable,
    }


def _confusion(ranking: Ranking, threshold: float | None) -> list[list[int]] | None:
    if threshold is None:
        return None
    called = ranking.scores >= threshold
    hits, false_alarms = int(ranking.truth[called].sum()), int((1 - ranking.truth[called]).sum())
    return [[ranking.negatives - false_alarms, false_alarms], [ranking.positives - hits, hits]]
