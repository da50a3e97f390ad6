"""Exact 95% intervals for where resampling gives none: if every resample has the same value, as with a perfect result.

They are conservative. The unit is the patient: a patient with several images counts as one trial, as if the images
agreed. A mean of values between 0 and 1 varies at most as much as a proportion of the same size, so that the interval
of the proportion also holds for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import betaincinv, gammaincinv

from radiograft.registry.result_types import Estimate

CLOPPER_PEARSON, GARWOOD, NEWCOMBE, IDENTICAL = "Clopper-Pearson", "Garwood", "Newcombe", "identical"
TAIL = 0.025  # on either side of a 95% interval


def proportion_interval(value: float, trials: int) -> Estimate:
    """Computes the interval of a proportion (Clopper and Pearson 1934), or of a mean of values between 0 and 1.

    Args:
        value: 0 to 1.
        trials: number of independent trials, at least 1.

    Example:
        >>> interval = proportion_interval(1.0, 10)
        >>> round(interval["low"], 3), interval["high"]
        (0.692, 1.0)
    """
    successes = min(max(value, 0.0), 1.0) * trials
    failures = trials - successes
    low = float(betaincinv(successes, failures + 1, TAIL)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - TAIL)) if failures else 1.0
    # The inverse is rounded up to 1e-11, which may be more than the value.
    return {"value": value, "low": min(low, value), "high": max(high, value), "method": CLOPPER_PEARSON}


def rate_interval(value: float, trials: int) -> Estimate:
    """Computes the interval of the mean of a count (Garwood 1936, for Poisson counts).

    Args:
        value: mean count of a trial, 0 or more.
        trials: number of independent trials, at least 1.
    """
    events = value * trials
    low = float(gammaincinv(events, TAIL)) / trials if events else 0.0
    return {"value": value, "low": low, "high": float(gammaincinv(events + 1, 1 - TAIL)) / trials, "method": GARWOOD}


def auroc_pair_interval(value: float, positives: int, negatives: int, patients: int) -> Estimate:
    """Computes an interval of the AUROC that holds for any distribution of the scores.

    The AUROC is the probability that a positive scores higher than a negative. Pairs of a positive and a negative that
    share no patient are independent trials of it, and there are as many as the smaller class has patients.

    Args:
        value: 0 to 1.
        positives, negatives: number of patients with, and without, the label, each at least 1.
        patients: number of all patients, at least 2; a patient may be in both classes.
    """
    return proportion_interval(value, min(positives, negatives, patients // 2))


def f1_interval(value: float, patients: int) -> Estimate:
    """Computes the interval of an F1 score.

    F1 increases with the proportion of true positives among all images that are positive or predicted positive, whose
    interval is converted.

    Args:
        value: 0 to 1.
        patients: number of patients with such images, at least 1.
    """
    proportion = proportion_interval(value / (2 - value), patients)
    low, high = (2 * bound / (1 + bound) for bound in (proportion["low"] or 0.0, proportion["high"] or 0.0))
    return {**proportion, "value": value, "low": low, "high": high}


def scaled_interval(value: float, maximum: float, trials: int) -> Estimate:
    """Computes the interval of a mean of values between 0 and `maximum`.

    Example:
        >>> round(scaled_interval(0.0, 2.0, 10)["high"], 3)
        0.617
    """
    interval = proportion_interval(value / maximum, trials)
    low, high = (maximum * (bound or 0.0) for bound in (interval["low"], interval["high"]))
    return {**interval, "value": value, "low": min(low, value), "high": max(high, value)}


def kappa_interval(observed: float, expected: float, trials: int) -> Estimate:
    """Computes the interval of a weighted kappa, 1 - observed / expected, for fixed expected disagreement.

    Args:
        observed: mean disagreement, 0 to 1.
        expected: mean disagreement if truth and prediction were independent, above 0.
        trials: number of independent trials, at least 1.
    """
    disagreement = proportion_interval(observed, trials)
    low, high = (1 - (bound or 0.0) / expected for bound in (disagreement["high"], disagreement["low"]))
    return {**disagreement, "value": 1 - observed / expected, "low": max(low, -1.0), "high": high}


def mean_interval(estimates: Sequence[Estimate]) -> Estimate:
    """Returns the mean of estimates with the means of their bounds, which is conservative; one estimate is unchanged.

    The bounds are None if an estimate has none.
    """
    if len(estimates) == 1:
        return estimates[0]
    columns = [[estimate["value"], estimate["low"], estimate["high"]] for estimate in estimates]
    value, low, high = (
        None if None in column else math.fsum(number or 0.0 for number in column) / len(column)
        for column in zip(*columns, strict=True)
    )
    return {"value": value, "low": low, "high": high, "method": CLOPPER_PEARSON}


def difference_interval(first: Estimate, second: Estimate) -> Estimate:
    """Computes the interval of a difference from the intervals of its terms (Newcombe 1998, method 10).

    It is conservative for two models on the same images, whose results are positively correlated. The bounds are None
    if a term has none.
    """
    terms = [first["value"], first["low"], first["high"], second["value"], second["low"], second["high"]]
    a, low_a, high_a, b, low_b, high_b = (math.nan if term is None else term for term in terms)
    if math.isnan(sum((a, low_a, high_a, b, low_b, high_b))):
        return {"value": None if math.isnan(a - b) else a - b, "low": None, "high": None}
    low = a - b - math.hypot(a - low_a, high_b - b)
    high = a - b + math.hypot(high_a - a, b - low_b)
    return {"value": a - b, "low": max(low, -1.0), "high": min(high, 1.0), "method": NEWCOMBE}


def no_difference() -> Estimate:
    """Returns the difference of a model and itself."""
    return {"value": 0.0, "low": 0.0, "high": 0.0, "method": IDENTICAL}
