"""The tests behind every verdict on drift: right statistics, and p-values that hold though images are alike."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from radiograft.drift.two_sample_tests import (
    PERMUTATIONS,
    contrasts,
    kolmogorov_smirnov,
    mean_discrepancy,
    permutation_test,
    total_variation,
)

STATISTICS = {"ks": kolmogorov_smirnov, "tv": total_variation, "mmd": mean_discrepancy}


def sides(old: int, new: int) -> np.ndarray:
    return np.arange(old + new) >= old


def alike_images(generator: np.random.Generator, patients: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Patients with 1 to 5 images that are much alike: the patient of each, and what a test looks at."""
    owner = np.repeat(np.arange(patients), generator.integers(1, 6, patients))
    if kind == "tv":
        return owner, generator.integers(0, 2, patients)[owner]
    width = 1 if kind == "ks" else 4
    values = generator.normal(size=(patients, width))[owner] + 0.1 * generator.normal(size=(len(owner), width))
    return owner, values[:, 0] if kind == "ks" else values


def observed(statistic: str, values: object, old: int, new: int) -> float:
    weights = next(contrasts(np.arange(old + new), sides(old, new), 0))
    return float(STATISTICS[statistic](values)(weights)[0])  # type: ignore[arg-type]


def test_total_variation_is_the_share_that_would_have_to_change() -> None:
    assert observed("tv", ["AP", "PA", "PA", "PA", "AP", "AP", "AP", "PA"], 4, 4) == pytest.approx(0.5)
    assert observed("tv", ["AP", "PA", "LL", "AP", "LL", "PA"], 3, 3) == pytest.approx(0)
    assert observed("tv", ["AP", "AP", "PA"], 2, 1) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:ks_2samp")  # of its p-value, which is not looked at
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
)
def test_the_distance_of_distributions_is_scipys(old: list[int], new: list[int]) -> None:
    expected = stats.ks_2samp(old, new, method="exact").statistic
    assert observed("ks", old + new, len(old), len(new)) == pytest.approx(expected)


def test_the_distance_of_embeddings_is_that_of_the_definition() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(7, 3))
    squared = {pair: float(((features[pair[0]] - features[pair[1]]) ** 2).sum()) for pair in np.ndindex(7, 7)}
    width = np.median([squared[pair] for pair in itertools.combinations(range(7), 2)])
    kernel = {pair: np.exp(-distance / (2 * width)) for pair, distance in squared.items()}
    old, new = range(3), range(3, 7)
    means = [
        np.mean([kernel[pair] for pair in itertools.product(*both)]) for both in ((old, old), (new, new), (old, new))
    ]
    assert observed("mmd", features, 3, 4) == pytest.approx(np.sqrt(means[0] + means[1] - 2 * means[2]))


def test_equal_embeddings_have_no_distance() -> None:
    found = permutation_test(np.arange(8), sides(4, 4), mean_discrepancy(np.ones((8, 5))), seed=0)
    assert (found.value, found.p) == (0, 1)


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize(("old", "new"), [(61, 137), (452, 111), (350, 333)])
def test_images_that_are_all_alike_have_not_shifted(kind: str, old: int, new: int) -> None:
    """Fails where distances are compared exactly or by a relative tolerance, or the kernel takes for distances what is
    rounding: that would decide."""
    generator = np.random.default_rng(old)
    owner = np.concatenate([np.sort(generator.integers(0, old // 2, old)), old + generator.integers(0, new // 2, new)])
    constant = {"tv": ["PA"] * (old + new), "ks": np.full(old + new, 0.3)}
    constant["mmd"] = np.tile(generator.normal(size=50), (old + new, 1))
    found = permutation_test(owner, sides(old, new), STATISTICS[kind](constant[kind]), seed=old)
    assert found.value == pytest.approx(0, abs=1e-7)
    assert found.p == 1


def test_p_is_the_share_of_divisions_that_are_as_far_apart() -> None:
    # Of the 6 ways to put four patients on two sides, 2 part the low values from the high ones.
    found = permutation_test(np.arange(4), sides(2, 2), kolmogorov_smirnov([1, 2, 3, 4]), seed=0)
    assert found.value == 1
    assert found.p == pytest.approx(1 / 3, abs=0.03)


def test_patients_change_sides_as_a_whole() -> None:
    patients = np.array([0, 0, 0, 1, 2, 2, 3])
    for weights in contrasts(patients, np.array([False, False, False, False, True, True, True]), seed=1):
        np.testing.assert_allclose(weights.sum(axis=1), 0, atol=1e-12)
        np.testing.assert_allclose(np.abs(weights).sum(axis=1), 2)
        for patient in range(4):
            of_patient = weights[:, patients == patient]
            assert (of_patient == of_patient[:, :1]).all()


@pytest.mark.parametrize("kind", STATISTICS)
def test_p_is_never_zero(kind: str) -> None:
    apart = {
        "tv": np.repeat(["AP", "PA"], 40),
        "ks": np.repeat([0.1, 0.9], 40),
        "mmd": np.repeat([[0.0, 0.0], [9.0, 9.0]], 40, axis=0),
    }
    found = permutation_test(np.arange(80), sides(40, 40), STATISTICS[kind](apart[kind]), seed=0)
    assert found.p == 1 / (PERMUTATIONS + 1)


@pytest.mark.parametrize("kind", STATISTICS)
def test_one_population_is_seldom_flagged_however_alike_a_patients_images_are(kind: str) -> None:
    """Of 120 comparisons at 5 % six are expected; more than 15 occur with a probability of 1 in 2,000."""
    flagged = 0
    for seed in range(120):
        owner, values = alike_images(np.random.default_rng(seed), 40, kind)
        flagged += permutation_test(owner, owner >= 25, STATISTICS[kind](values), seed).p < 0.05
    assert flagged <= 15


def test_taking_each_image_for_a_patient_would_flag_far_too_many() -> None:
    """Of 40 comparisons at 5 % two are expected; more than 8 occur with a probability of 1 in 5,000."""
    flagged = 0
    for seed in range(40):
        owner, values = alike_images(np.random.default_rng(seed), 40, "ks")
        flagged += permutation_test(np.arange(len(owner)), owner >= 25, kolmogorov_smirnov(values), seed).p < 0.05
    assert flagged > 8


@pytest.mark.parametrize("kind", STATISTICS)
def test_p_values_of_one_population_are_spread_evenly(kind: str) -> None:
    """Half of 120 lie below 0.5; fewer than 43 or more than 77 occur with a probability below 1 in 500."""
    p = []
    for seed in range(1000, 1120):
        owner, values = alike_images(np.random.default_rng(seed), 40, kind)
        p.append(permutation_test(owner, owner >= 20, STATISTICS[kind](values), seed).p)
    assert 43 <= sum(value < 0.5 for value in p) <= 77


@pytest.mark.parametrize("kind", STATISTICS)
def test_another_population_is_flagged(kind: str) -> None:
    generator = np.random.default_rng(0)
    owner, values = alike_images(generator, 80, kind)
    is_new = owner >= 40
    values = (
        np.where(is_new, 1, values) if kind == "tv" else values + 1.5 * is_new.reshape(-1, *[1] * (values.ndim - 1))
    )
    assert permutation_test(owner, is_new, STATISTICS[kind](values), seed=0).p < 0.01


def test_equal_seeds_give_equal_p_values() -> None:
    owner, values = alike_images(np.random.default_rng(2), 20, "ks")
    first, again, other = (
        permutation_test(owner, owner >= 9, kolmogorov_smirnov(values), seed).chance for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
