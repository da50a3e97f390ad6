"""AUROC's variance without resampling, and the comparison of two models on the same images.

DeLong, DeLong and Clarke-Pearson (1988) in O(n log n) by mid-ranks (Sun and Xu 2014). Where images come from the same
patient, their sum stands for the patient (Obuchowski 1997); with one image a patient this is DeLong's variance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from radiograft.metrics.bootstrap import Estimate, encode_patients
from radiograft.metrics.ranking import FloatArray, IntArray

NORMAL_975 = float(norm.ppf(0.975))


class DeLongResult(NamedTuple):
    """AUROC of `a` minus AUROC of `b`.

    Attributes:
        difference: -1 to 1.
        variance: of the difference, 0 or more; NaN with fewer than two patients with, or without the label.
        p_value: two-sided, of the areas being equal; NaN where the variance is NaN, or 0 under unequal areas.
    """

    difference: float
    variance: float
    p_value: float

    def estimate(self) -> Estimate:
        """The difference with its 95 % normal interval, whose bounds are None where `p_value` is NaN."""
        if math.isnan(self.p_value):
            return {"value": self.difference, "low": None, "high": None}
        half = NORMAL_975 * math.sqrt(self.variance)
        return {"value": self.difference, "low": self.difference - half, "high": self.difference + half}


class _Known(NamedTuple):
    """The images of known truth: their places among all, which are positive, and the numbers of their patients."""

    rows: IntArray
    positive: NDArray[np.bool_]
    patients: IntArray


def auroc_interval(truth: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> Estimate:
    """AUROC with its 95 % interval on the logit scale, which stays within 0 to 1 (Pepe 2003, section 5.2.4).

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) any numbers, of which only the order counts.
        patients: (n,) ids; None where each image is a patient of its own.

    Returns:
        Bounds are None with fewer than two patients of a class, and where the variance is 0: where the classes are
        wholly apart, which says nothing of how far apart they are, or in each patient both classes cancel out.

    Raises:
        ValueError: lengths differ, a truth is not 0, 1 or NaN, a known image's score is NaN, or a class is missing.
    """
    known = _known_rows(truth, patients, scores)
    value, residuals = _residuals(known, scores)
    variance = _variance(known, residuals)
    if not variance > 0:
        return {"value": value, "low": None, "high": None}
    center, half = math.log(value / (1 - value)), NORMAL_975 * math.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-bound)) for bound in (center - half, center + half))
    return {"value": value, "low": low, "high": high}


def compare_aurocs(truth: ArrayLike, a: ArrayLike, b: ArrayLike, patients: ArrayLike | None = None) -> DeLongResult:
    """Compares two models' scores for one label on the same images.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        a, b: (n,) any numbers, of which only the order counts.
        patients: (n,) ids; None where each image is a patient of its own.

    Raises:
        ValueError: as `area`.
    """
    known = _known_rows(truth, patients, a, b)
    (area_a, residuals_a), (area_b, residuals_b) = _residuals(known, a), _residuals(known, b)
    difference, variance = area_a - area_b, _variance(known, residuals_a - residuals_b)
    if variance > 0:
        return DeLongResult(difference, variance, float(2 * norm.sf(abs(difference) / math.sqrt(variance))))
    return DeLongResult(difference, variance, 1.0 if difference == 0 and variance == 0 else math.nan)


def _known_rows(truth: ArrayLike, patients: ArrayLike | None, *scores: ArrayLike) -> _Known:
    all_truth = np.asarray(truth, np.float64)
    ids = np.arange(len(all_truth)) if patients is None else np.asarray(patients)
    lengths = [np.shape(column) for column in (all_truth, ids, *scores)]
    if all_truth.ndim != 1 or len(set(lengths)) > 1:
        raise ValueError(f"truth, scores and patients must be columns of one length, got {lengths}")
    rows = np.flatnonzero(~np.isnan(all_truth))
    values = all_truth[rows]
    if set(np.unique(values)) != {0.0, 1.0}:
        raise ValueError(f"an AUROC needs a truth of 0 and 1 and both of them, got {np.unique(values).tolist()}")
    if any(np.isnan(np.asarray(column, np.float64)[rows]).any() for column in scores):
        raise ValueError("every image of known truth needs a score, got NaN; set the image's truth to NaN instead")
    return _Known(rows, values == 1, encode_patients(ids[rows]))


def _residuals(known: _Known, scores: ArrayLike) -> tuple[float, FloatArray]:
    """AUROC and, for each known image, how much better than that it is placed among the other class.

    A positive's place is the share of negatives below it, a negative's that of positives above it; ties count half.
    """
    ordered = np.asarray(scores, np.float64)[known.rows]
    places = np.empty_like(ordered)
    n_positive = int(known.positive.sum())
    n_negative = len(ordered) - n_positive
    ranks = rankdata(ordered)
    places[known.positive] = (ranks[known.positive] - rankdata(ordered[known.positive])) / n_negative
    places[~known.positive] = 1 - (ranks[~known.positive] - rankdata(ordered[~known.positive])) / n_positive
    value = float(places[known.positive].mean())
    return value, places - value


def _variance(known: _Known, residuals: FloatArray) -> float:
    """Of a mean over both classes' residuals, by patients; NaN with fewer than two patients of a class.

    It is 0 where each patient's residuals of both classes cancel out, of which rounding leaves a little above or below
    0. Otherwise it is positive, because `_unbiased` falls with the count, and no class has more patients than all have.
    """
    with_label, without = (
        np.bincount(known.patients, np.where(chosen, residuals / chosen.sum(), 0))
        for chosen in (known.positive, ~known.positive)
    )
    holders, others = (len(np.unique(known.patients[chosen])) for chosen in (known.positive, ~known.positive))
    if min(holders, others) < 2:
        return math.nan
    squares = float(_unbiased(holders) * np.sum(with_label**2) + _unbiased(others) * np.sum(without**2))
    variance = squares + 2 * _unbiased(len(with_label)) * float(np.sum(with_label * without))
    return variance if variance > 1e-12 * squares else 0.0


def _unbiased(count: int) -> float:
    return count / (count - 1)
