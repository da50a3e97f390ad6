"""DeLong's variance of the AUROC, and the comparison of two models on the same images, without resampling.

DeLong, DeLong and Clarke-Pearson (1988), in O(n log n) by mid-ranks (Sun and Xu 2014). Images of one patient form a
cluster (Obuchowski 1997); with one image per patient this is DeLong's variance.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from radiograft.metrics import exact_intervals
from radiograft.metrics.bootstrap import encode_patients
from radiograft.metrics.ranking import FloatArray, IntArray
from radiograft.registry.result_types import Estimate

NORMAL_975 = float(norm.ppf(0.975))


class DeLongResult(NamedTuple):
    """AUROC of `a` minus AUROC of `b`.

    Attributes:
        difference: -1 to 1.
        variance: variance of the difference, 0 or more; NaN with fewer than two patients in a class.
        p_value: two-sided, for equal AUROCs. NaN if the variance is NaN, or if it is 0 and the AUROCs differ.
        exact: the difference with an exact interval if the variance is 0, otherwise None.
    """

    difference: float
    variance: float
    p_value: float
    exact: Estimate | None = None

    def estimate(self) -> Estimate:
        """Returns the difference with its 95% normal interval; the bounds are None if the variance is NaN."""
        if self.exact is not None:
            return self.exact
        if math.isnan(self.variance):
            return {"value": self.difference, "low": None, "high": None}
        half_width = NORMAL_975 * math.sqrt(self.variance)
        return {"value": self.difference, "low": self.difference - half_width, "high": self.difference + half_width}


class _KnownImages(NamedTuple):
    """Images with known truth: their positions among all images, which are positive, and their patient codes."""

    rows: IntArray
    positive: NDArray[np.bool_]
    patients: IntArray


def auroc_interval(truth: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None) -> Estimate:
    """Computes the AUROC with its 95% interval on the logit scale, within 0 to 1 (Pepe 2003, section 5.2.4).

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) any numbers; only their order matters.
        patients: (n,) patient ids; None if every image has its own patient.

    Returns:
        The bounds are None with fewer than two patients in a class. They are exact (see `auroc_pair_interval`) if the
        variance is 0: the scores separate the classes perfectly, or both classes cancel out within every patient.

    Raises:
        ValueError: if the lengths differ, a truth is not 0, 1 or NaN, an image with known truth has a NaN score, or
            a class is missing.
    """
    known = _select_known(truth, patients, scores)
    value, residuals = _residuals(known, scores)
    variance = _variance(known, residuals)
    if math.isnan(variance):
        return {"value": value, "low": None, "high": None}
    if variance == 0:
        return _exact_interval(known, value)
    center, half_width = math.log(value / (1 - value)), NORMAL_975 * math.sqrt(variance) / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-bound)) for bound in (center - half_width, center + half_width))
    return {"value": value, "low": low, "high": high}


def compare_aurocs(truth: ArrayLike, a: ArrayLike, b: ArrayLike, patients: ArrayLike | None = None) -> DeLongResult:
    """Compares the AUROCs of two models for one label on the same images.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        a, b: (n,) scores of the two models, any numbers; only their order matters.
        patients: (n,) patient ids; None if every image has its own patient.

    Raises:
        ValueError: as in `auroc_interval`.
    """
    known = _select_known(truth, patients, a, b)
    (area_a, residuals_a), (area_b, residuals_b) = _residuals(known, a), _residuals(known, b)
    difference, variance = area_a - area_b, _variance(known, residuals_a - residuals_b)
    if variance > 0:
        return DeLongResult(difference, variance, float(2 * norm.sf(abs(difference) / math.sqrt(variance))))
    exact = None
    if variance == 0:
        same = np.array_equal(*(rankdata(np.asarray(scores)[known.rows]) for scores in (a, b)))
        terms = [_exact_interval(known, area) for area in (area_a, area_b)]
        exact = exact_intervals.no_difference() if same else exact_intervals.difference_interval(*terms)
    return DeLongResult(difference, variance, 1.0 if difference == 0 and variance == 0 else math.nan, exact)


def _exact_interval(known: _KnownImages, value: float) -> Estimate:
    positives, negatives = (len(np.unique(known.patients[mask])) for mask in (known.positive, ~known.positive))
    return exact_intervals.auroc_pair_interval(value, positives, negatives, len(np.unique(known.patients)))


def _select_known(truth: ArrayLike, patients: ArrayLike | None, *scores: ArrayLike) -> _KnownImages:
    all_truth = np.asarray(truth, np.float64)
    ids = np.arange(len(all_truth)) if patients is None else np.asarray(patients)
    shapes = [np.shape(column) for column in (all_truth, ids, *scores)]
    if all_truth.ndim != 1 or len(set(shapes)) > 1:
        raise ValueError(f"truth, scores and patients must be vectors of equal length, got shapes {shapes}")
    rows = np.flatnonzero(~np.isnan(all_truth))
    values = all_truth[rows]
    if set(np.unique(values)) != {0.0, 1.0}:
        raise ValueError(f"truth must contain both 0 and 1 and no other value, got {np.unique(values).tolist()}")
    if any(np.isnan(np.asarray(column, np.float64)[rows]).any() for column in scores):
        raise ValueError("every image with known truth needs a score, got NaN; set the truth of the image to NaN")
    return _KnownImages(rows, values == 1, encode_patients(ids[rows]))


def _residuals(known: _KnownImages, scores: ArrayLike) -> tuple[float, FloatArray]:
    """Returns the AUROC and, for each known image, its placement value minus the AUROC.

    The placement value of a positive is the fraction of negatives below it; that of a negative is the fraction of
    positives above it. Ties count as half.
    """
    values = np.asarray(scores, np.float64)[known.rows]
    placements = np.empty_like(values)
    n_positive = int(known.positive.sum())
    n_negative = len(values) - n_positive
    ranks = rankdata(values)
    placements[known.positive] = (ranks[known.positive] - rankdata(values[known.positive])) / n_negative
    placements[~known.positive] = 1 - (ranks[~known.positive] - rankdata(values[~known.positive])) / n_positive
    auroc = float(placements[known.positive].mean())
    return auroc, placements - auroc


def _variance(known: _KnownImages, residuals: FloatArray) -> float:
    """Returns the clustered variance of the AUROC; NaN with fewer than two patients in a class.

    The variance is 0 if the residuals of both classes cancel out within every patient, up to rounding. Otherwise it
    is positive, because `_unbiased` decreases with the count and no class has more patients than there are in all.
    """
    positive_sums, negative_sums = (
        np.bincount(known.patients, np.where(in_class, residuals / in_class.sum(), 0))
        for in_class in (known.positive, ~known.positive)
    )
    n_positive, n_negative = (len(np.unique(known.patients[mask])) for mask in (known.positive, ~known.positive))
    if min(n_positive, n_negative) < 2:
        return math.nan
    squares = float(_unbiased(n_positive) * np.sum(positive_sums**2) + _unbiased(n_negative) * np.sum(negative_sums**2))
    variance = squares + 2 * _unbiased(len(positive_sums)) * float(np.sum(positive_sums * negative_sums))
    return variance if variance > 1e-12 * squares else 0.0


def _unbiased(count: int) -> float:
    """Returns Bessel's correction."""
    return count / (count - 1)
