"""Bootstrap confidence intervals that resample patients, because images of one patient are correlated."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.metrics.ranking import FloatArray, IntArray
from radiograft.registry.result_types import Estimate

# With fewer resamples, less than one falls into each 2.5% tail and the interval would be the range of the values.
MIN_RESAMPLES = 40
ROUNDING = 1e-12  # equal values of a statistic differ by less

# This many weights (1.6 MB) fit into a core's cache. Chunks eight times larger were two to five times slower.
CHUNK_SIZE = 200_000
MAX_THREADS = 8


NOT_ESTIMABLE: Estimate = {"value": None, "low": None, "high": None}


def encode_patients(patients: ArrayLike) -> IntArray:
    """Returns the patients as integer codes 0, 1, ... in the order of their sorted ids.

    Raises:
        ValueError: if there are no images, or an image has no patient id.

    Example:
        >>> encode_patients(["b", "a", "b"]).tolist()
        [1, 0, 1]
    """
    codes, _ = pd.factorize(np.asarray(patients, dtype=object), sort=True)
    if not len(codes):
        raise ValueError("an evaluation needs at least one image, got none; check the split sizes")
    if (codes < 0).any():
        raise ValueError(f"every image needs a patient_id, got {int((codes < 0).sum())} without one")
    return codes.astype(np.int64)


def bootstrap_by_patient(
    patients: IntArray, statistic: Callable[[FloatArray], FloatArray], samples: int, seed: int
) -> FloatArray:
    """Computes a statistic on the original sample and on resamples of its patients, drawn with replacement.

    A single patient cannot be resampled; the result then holds only the original sample.

    Args:
        patients: (n,) patient code of each image, from `encode_patients`.
        statistic: maps weights (b, n), the number of times that each image counts, to (b, ...). NaN is allowed.
        samples: number of resamples.
        seed: equal seeds draw the same patients for every statistic.

    Returns:
        (1 + samples, ...), or (1, ...) for a single patient. The first row is the original sample.
    """
    original = statistic(np.ones((1, len(patients))))
    if not patients.max():
        return original
    chunk_size = max(1, CHUNK_SIZE // len(patients))
    chunks = [range(start, min(start + chunk_size, samples)) for start in range(0, samples, chunk_size)]
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_THREADS)) as pool:  # NumPy releases the GIL
        resampled = pool.map(lambda chunk: statistic(_resample_weights(patients, chunk, seed)), chunks)
        return np.concatenate([original, *resampled])


def _resample_weights(patients: IntArray, resamples: range, seed: int) -> FloatArray:
    """Returns weights (b, n). Each resample has its own generator, so threads and chunks do not affect the result."""
    n_patients = int(patients.max()) + 1
    draws = (np.random.default_rng((seed, number)).integers(n_patients, size=n_patients) for number in resamples)
    times_drawn = np.stack([np.bincount(draw, minlength=n_patients) for draw in draws])
    return np.take(times_drawn.astype(np.float64), patients, axis=1)


def percentile_interval(values: FloatArray, exact: Callable[[float], Estimate]) -> Estimate:
    """Returns the value on the original sample with the 2.5th and 97.5th percentiles of the resamples.

    Resamples that lack a class are NaN and are skipped.

    Args:
        values: (1 + samples,) from `bootstrap_by_patient`.
        exact: returns the estimate for the value if both percentiles are equal, for example because every prediction
            is correct; see `exact_intervals`.
    """
    value = None if np.isnan(values[0]) else float(values[0])
    usable = values[1:][~np.isnan(values[1:])]
    if len(usable) < MIN_RESAMPLES:
        return {"value": value, "low": None, "high": None}
    low, high = (float(bound) for bound in np.percentile(usable, [2.5, 97.5]))
    if value is not None and high - low <= ROUNDING:
        return exact(value)
    return {"value": value, "low": low, "high": high}
