"""Uncertainty by resampling patients, never images: those of one patient are alike and go together."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.metrics.ranking import FloatArray, IntArray

# Below this, less than one resample lies outside each 2.5 % tail and the interval would be an extreme value.
MIN_RESAMPLES = 40

# So many weights (1.6 MB) stay in a core's cache; chunks eight times larger were two to five times slower.
CHUNK_SIZE = 200_000
MAX_THREADS = 8


class Estimate(TypedDict):
    """A number with its 95 % interval; None where the data cannot give it."""

    value: float | None
    low: float | None
    high: float | None


NOT_ESTIMABLE: Estimate = {"value": None, "low": None, "high": None}


def encode_patients(patients: ArrayLike) -> IntArray:
    """Number patients 0, 1, ... in the order of their sorted ids.

    Raises:
        ValueError: there is no image, or one without a patient.
    """
    codes, _ = pd.factorize(np.asarray(patients, dtype=object), sort=True)
    if not len(codes):
        raise ValueError("an evaluation needs at least one image, got none; check the split's sizes")
    if (codes < 0).any():
        raise ValueError(f"every image needs a patient_id, got {int((codes < 0).sum())} without one")
    return codes.astype(np.int64)


def bootstrap_by_patient(
    patients: IntArray, statistic: Callable[[FloatArray], FloatArray], samples: int, seed: int
) -> FloatArray:
    """A statistic of the sample itself and of resamples that draw as many patients with replacement.

    A single patient says nothing about others: the sample then stands alone.

    Args:
        patients: (n,) the patient of each image, from `number_patients`.
        statistic: maps weights (b, n), how often each image counts, to (b, ...); may hold NaN.
        samples: number of resamples.
        seed: equal seeds draw equal patients, whatever the statistic.

    Returns:
        (1 + samples, ...), or (1, ...) for a single patient; the first row is the sample itself.
    """
    itself = statistic(np.ones((1, len(patients))))
    if not patients.max():
        return itself
    chunk = max(1, CHUNK_SIZE // len(patients))
    chunks = [range(start, min(start + chunk, samples)) for start in range(0, samples, chunk)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:  # NumPy lets go of the lock
        return np.concatenate([itself, *pool.map(lambda each: statistic(_weights(patients, each, seed)), chunks)])


def _weights(patients: IntArray, resamples: range, seed: int) -> FloatArray:
    """Each resample has a generator of its own, so that neither threads nor chunks change it."""
    n_patients = int(patients.max()) + 1
    draws = (np.random.default_rng((seed, number)).integers(n_patients, size=n_patients) for number in resamples)
    times_drawn = np.stack([np.bincount(draw, minlength=n_patients) for draw in draws])
    return np.take(times_drawn.astype(np.float64), patients, axis=1)


def percentile_interval(values: FloatArray) -> Estimate:
    """The sample's value and the 2.5 and 97.5 % percentiles of its resamples.

    Resamples that lack a class are NaN and are skipped. A statistic that no resample can change (all calls
    right) gets an interval of width zero: the bootstrap cannot see what was never drawn.

    Args:
        values: (1 + samples,) from `bootstrap`.
    """
    usable = values[1:][~np.isnan(values[1:])]
    low, high = np.percentile(usable, [2.5, 97.5]) if len(usable) >= MIN_RESAMPLES else (None, None)
    return {
        "value": None if np.isnan(values[0]) else float(values[0]),
        "low": None if low is None else float(low),
        "high": None if high is None else float(high),
    }
