"""Two-sample permutation tests that permute patients, not images, because images of one patient are correlated.

A test compares a statistic with its values when patients are assigned to the two samples at random. An assignment is a
weight for each image, so all permutations of a test are one array operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Statistic = Callable[[FloatArray], FloatArray]

PERMUTATIONS = 4999  # the smallest p-value, 0.0002, stays below 0.01 after Bonferroni correction for up to 49 labels
CHUNK_SIZE = 1_000_000  # weights per chunk
# Equal distances may differ by rounding: by about 1e-15 in sums of weights, which the square root in `mean_discrepancy`
# turns into up to 1e-7 at distance 0. The tolerance is absolute because identical images yield only rounding errors.
ROUNDING = 1e-7


class Result(NamedTuple):
    """Result of a permutation test.

    Attributes:
        value: the observed statistic, 0 or more.
        p: p-value, the fraction of assignments, including the observed one, with at least this statistic; never 0.
        chance: (PERMUTATIONS,) the statistic under permutation.
    """

    value: float
    p: float
    chance: FloatArray


def permutation_test(patients: IntArray, is_new: BoolArray, statistic: Statistic, seed: int) -> Result:
    """Tests whether the patients of both samples come from one population.

    Under this hypothesis patients are exchangeable between the samples, however correlated the images of one patient
    are. The observed assignment counts as one of the permutations (Phipson and Smyth 2010), so the p-value is exact
    and never 0.

    Args:
        patients: (n,) patient code of each image; each patient belongs to one sample.
        is_new: (n,) whether each image belongs to the new sample; both samples occur.
        statistic: maps contrasts (b, n) from `contrasts` to (b,), 0 or more.
        seed: equal seeds draw the same permutations.
    """
    values = np.concatenate([statistic(chunk) for chunk in contrasts(patients, is_new, seed)])
    observed, chance = float(values[0]), values[1:]
    at_least_observed = int(np.count_nonzero(chance >= observed - ROUNDING))
    return Result(observed, (1 + at_least_observed) / (1 + len(chance)), chance)


def contrasts(patients: IntArray, is_new: BoolArray, seed: int) -> Iterator[FloatArray]:
    """Yields weights (b, n) of the reference mean minus the new mean: first as observed, then permuted."""
    codes, patients = np.unique(patients, return_inverse=True)
    patient_is_new = np.zeros(len(codes), bool)
    patient_is_new[patients[is_new]] = True
    yield _contrast(is_new[None])
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_SIZE // len(patients))
    for start in range(0, PERMUTATIONS, chunk):
        permuted = generator.permuted(np.tile(patient_is_new, (min(chunk, PERMUTATIONS - start), 1)), axis=1)
        yield _contrast(permuted[:, patients])


def _contrast(is_new: BoolArray) -> FloatArray:
    is_reference = ~is_new
    weights: FloatArray = is_reference / is_reference.sum(axis=1, keepdims=True) - is_new / is_new.sum(
        axis=1, keepdims=True
    )
    return weights


def total_variation(categories: ArrayLike) -> Statistic:
    """Returns the total variation distance: half the sum of absolute differences of category frequencies, 0 to 1.

    Args:
        categories: (n,) sortable values.
    """
    names, codes = np.unique(np.asarray(categories), return_inverse=True)
    one_hot = np.eye(len(names))[codes]
    return lambda contrast: np.abs(contrast @ one_hot).sum(axis=1) / 2


def kolmogorov_smirnov(values: ArrayLike) -> Statistic:
    """Returns the largest difference between the two cumulative distributions, 0 to 1.

    Args:
        values: (n,) numbers without NaN.
    """
    numbers = np.asarray(values, np.float64)
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(numbers[order]) > 0, True))
    return lambda contrast: np.abs(np.cumsum(contrast[:, order], axis=1)[:, ends]).max(axis=1)


def mean_discrepancy(features: ArrayLike) -> Statistic:
    """Returns the maximum mean discrepancy (Gretton et al. 2012, eq. 5), 0 to the square root of 2.

    The kernel is Gaussian; its width is the median distance between images.

    Args:
        features: (n, channels) finite numbers.
    """
    kernel = _gaussian_kernel(np.asarray(features, np.float64))
    return lambda contrast: np.sqrt(np.maximum(((contrast @ kernel) * contrast).sum(axis=1), 0))


def _gaussian_kernel(features: FloatArray) -> FloatArray:
    norms = (features**2).sum(axis=1)
    norm_sums = norms[:, None] + norms
    squared = norm_sums - 2 * features @ features.T
    squared[squared < 1e-12 * norm_sums] = 0  # rounding errors, which an equally small width would amplify
    pairs = squared[np.triu_indices(len(features), 1)]
    width = np.median(pairs) or pairs.mean() or 1.0  # the median is 0 if most images are identical
    kernel: FloatArray = np.exp(-squared / (2 * width))
    return kernel
