"""Two-sample tests for images of which a patient may have several: patients change sides, never images.

A test compares a statistic with what it is when chance decides which patients are on which side. A side is nothing but
a weight for each image, so all permutations of a test are one array operation.
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

PERMUTATIONS = 4999  # the smallest p, 0.0002, stays below 0.01 when it is corrected for up to 49 labels
CHUNK_SIZE = 1_000_000  # weights at a time
# Equal distances differ by rounding: sums of weights by some 1e-15, of which the root in `mean_discrepancy` makes up to
# 1e-7 where the distance is 0. It is absolute: where all images are alike the distance is nothing but such an error.
ROUNDING = 1e-7


class Result(NamedTuple):
    """What a test found.

    Attributes:
        value: the statistic of the two sides as they are, 0 or more.
        p: share of all sides, these among them, that are as far apart; never 0.
        chance: (PERMUTATIONS,) the statistic where chance decides the sides.
    """

    value: float
    p: float
    chance: FloatArray


def permutation_test(patients: IntArray, is_new: BoolArray, statistic: Statistic, seed: int) -> Result:
    """Tests whether the patients of both sides come from one population.

    Under that hypothesis sides can be exchanged between patients, however alike the images of one patient are. The
    observed sides count as one of the permutations (Phipson and Smyth 2010), which makes p exact and never 0.

    Args:
        patients: (n,) number of the patient of each image; a patient is on one side only.
        is_new: (n,) the side of each image; both sides occur.
        statistic: maps contrasts (b, n), as `contrasts` makes them, to (b,), 0 or more.
        seed: equal seeds draw equal permutations.
    """
    values = np.concatenate([statistic(chunk) for chunk in contrasts(patients, is_new, seed)])
    observed, chance = float(values[0]), values[1:]
    as_far = int(np.count_nonzero(chance >= observed - ROUNDING))
    return Result(observed, (1 + as_far) / (1 + len(chance)), chance)


def contrasts(patients: IntArray, is_new: BoolArray, seed: int) -> Iterator[FloatArray]:
    """Weights (b, n) that take the mean over the old side less that over the new one: as it is, then permuted."""
    numbers, patients = np.unique(patients, return_inverse=True)
    sides = np.zeros(len(numbers), bool)
    sides[patients[is_new]] = True
    yield _contrast(is_new[None])
    generator = np.random.default_rng(seed)
    chunk = max(1, CHUNK_SIZE // len(patients))
    for start in range(0, PERMUTATIONS, chunk):
        drawn = generator.permuted(np.tile(sides, (min(chunk, PERMUTATIONS - start), 1)), axis=1)
        yield _contrast(drawn[:, patients])


def _contrast(is_new: BoolArray) -> FloatArray:
    old = ~is_new
    weights: FloatArray = old / old.sum(axis=1, keepdims=True) - is_new / is_new.sum(axis=1, keepdims=True)
    return weights


def total_variation(categories: ArrayLike) -> Statistic:
    """Half the sum of the differences between the categories' shares: the share of images that would have to change.

    Args:
        categories: (n,) of any kind that can be sorted. The statistic lies between 0 and 1.
    """
    names, codes = np.unique(np.asarray(categories), return_inverse=True)
    members = np.eye(len(names))[codes]
    return lambda contrast: np.abs(contrast @ members).sum(axis=1) / 2


def kolmogorov_smirnov(values: ArrayLike) -> Statistic:
    """The largest difference between the two cumulative distributions, 0 to 1.

    Args:
        values: (n,) numbers, none of them NaN.
    """
    numbers = np.asarray(values, np.float64)
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(numbers[order]) > 0, True))
    return lambda contrast: np.abs(np.cumsum(contrast[:, order], axis=1)[:, ends]).max(axis=1)


def mean_discrepancy(features: ArrayLike) -> Statistic:
    """Maximum mean discrepancy (Gretton et al. 2012, eq. 5), the Gaussian kernel as wide as the median distance.

    Args:
        features: (n, channels) finite numbers. The statistic lies between 0 and the square root of 2.
    """
    kernel = _gaussian_kernel(np.asarray(features, np.float64))
    return lambda contrast: np.sqrt(np.maximum(((contrast @ kernel) * contrast).sum(axis=1), 0))


def _gaussian_kernel(features: FloatArray) -> FloatArray:
    lengths = (features**2).sum(axis=1)
    both = lengths[:, None] + lengths
    squared = both - 2 * features @ features.T
    squared[squared < 1e-12 * both] = 0  # rounding, which a width as small would make a distance
    between = squared[np.triu_indices(len(features), 1)]
    width = np.median(between) or between.mean() or 1.0  # the median is 0 where most images are alike
    kernel: FloatArray = np.exp(-squared / (2 * width))
    return kernel
