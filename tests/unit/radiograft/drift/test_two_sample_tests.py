"""Two-sample tests: correct statistics, and valid p-values although images of one patient are correlated."""

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


def correlated_images(generator: np.random.Generator, patients: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Patients with 1 to 5 similar images: the patient code and the value of each image."""
    owner = np.repeat(np.arange(patients), generator.integers(1, 6, patients))
    if kind == "tv":
        return owner, generator.integers(0, 2, patients)[owner]
    width = 1 if kind == "ks" else 4
    values = generator.normal(size=(patients, width))[owner] + 0.1 * generator.normal(size=(len(owner), width))
    return owner, values[:, 0] if kind == "ks" else values


def observed(statistic: str, values: object, old: int, new: int) -> float:
    weights = next(contrasts(np.arange(old + new), sides(old, new), 0))
    return float(STATISTICS[statistic](values)(weights)[0])  # type: ignore[arg-type]


def test_total_variation_worked_examples() -> None:
    assert observed("tv", ["AP", "PA", "PA", "PA", "AP", "AP", "AP", "PA"], 4, 4) == pytest.approx(0.5)
    assert observed("tv", ["AP", "PA", "LL", "AP", "LL", "PA"], 3, 3) == pytest.approx(0)
    assert observed("tv", ["AP", "AP", "PA"], 2, 1) == pytest.approx(1)


@pytest.mark.filterwarnings("ignore:ks_2samp")  # concerns its p-value, which is not used
@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
)
def test_kolmogorov_smirnov_matches_scipy(old: list[int], new: list[int]) -> None:
    expected = stats.ks_2samp(old, new, method="exact").statistic
    assert observed("ks", old + new, len(old), len(new)) == pytest.approx(expected)


def test_mean_discrepancy_matches_definition() -> None:
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


def test_permutation_test_equal_embeddings_has_p_value_1() -> None:
    result = permutation_test(np.arange(8), sides(4, 4), mean_discrepancy(np.ones((8, 5))), seed=0)
    assert (result.value, result.p) == (0, 1)


@pytest.mark.parametrize("kind", STATISTICS)
@pytest.mark.parametrize(("old", "new"), [(61, 137), (452, 111), (350, 333)])
def test_permutation_test_identical_images_has_p_value_1(kind: str, old: int, new: int) -> None:
    """Fails if distances are compared exactly or with a relative tolerance, or if the kernel amplifies rounding."""
    generator = np.random.default_rng(old)
    owner = np.concatenate([np.sort(generator.integers(0, old // 2, old)), old + generator.integers(0, new // 2, new)])
    constant = {"tv": ["PA"] * (old + new), "ks": np.full(old + new, 0.3)}
    constant["mmd"] = np.tile(generator.normal(size=50), (old + new, 1))
    result = permutation_test(owner, sides(old, new), STATISTICS[kind](constant[kind]), seed=old)
    assert result.value == pytest.approx(0, abs=1e-7)
    assert result.p == 1


def test_permutation_test_p_value_is_fraction_of_assignments() -> None:
    # Of the 6 assignments of four patients to two samples, 2 separate the low from the high values.
    result = permutation_test(np.arange(4), sides(2, 2), kolmogorov_smirnov([1, 2, 3, 4]), seed=0)
    assert result.value == 1
    assert result.p == pytest.approx(1 / 3, abs=0.03)


def test_contrasts_permute_whole_patients() -> None:
    patients = np.array([0, 0, 0, 1, 2, 2, 3])
    for weights in contrasts(patients, np.array([False, False, False, False, True, True, True]), seed=1):
        np.testing.assert_allclose(weights.sum(axis=1), 0, atol=1e-12)
        np.testing.assert_allclose(np.abs(weights).sum(axis=1), 2)
        for patient in range(4):
            of_patient = weights[:, patients == patient]
            assert (of_patient == of_patient[:, :1]).all()


@pytest.mark.parametrize("kind", STATISTICS)
def test_permutation_test_p_value_is_never_zero(kind: str) -> None:
    separated = {
        "tv": np.repeat(["AP", "PA"], 40),
        "ks": np.repeat([0.1, 0.9], 40),
        "mmd": np.repeat([[0.0, 0.0], [9.0, 9.0]], 40, axis=0),
    }
    result = permutation_test(np.arange(80), sides(40, 40), STATISTICS[kind](separated[kind]), seed=0)
    assert result.p == 1 / (PERMUTATIONS + 1)


@pytest.mark.parametrize("kind", STATISTICS)
def test_permutation_test_same_population_controls_false_positives(kind: str) -> None:
    """Of 120 tests at 5%, six false positives are expected; more than 15 have a probability of 1 in 2,000."""
    flagged = 0
    for seed in range(120):
        owner, values = correlated_images(np.random.default_rng(seed), 40, kind)
        flagged += permutation_test(owner, owner >= 25, STATISTICS[kind](values), seed).p < 0.05
    assert flagged <= 15


def test_permutation_test_images_as_patients_has_excess_false_positives() -> None:
    """Of 40 tests at 5%, two false positives are expected; more than 8 have a probability of 1 in 5,000."""
    flagged = 0
    for seed in range(40):
        owner, values = correlated_images(np.random.default_rng(seed), 40, "ks")
        flagged += permutation_test(np.arange(len(owner)), owner >= 25, kolmogorov_smirnov(values), seed).p < 0.05
    assert flagged > 8


@pytest.mark.parametrize("kind", STATISTICS)
def test_permutation_test_same_population_has_uniform_p_values(kind: str) -> None:
    """Half of 120 are expected below 0.5; fewer than 43 or more than 77 have a probability below 1 in 500."""
    p = []
    for seed in range(1000, 1120):
        owner, values = correlated_images(np.random.default_rng(seed), 40, kind)
        p.append(permutation_test(owner, owner >= 20, STATISTICS[kind](values), seed).p)
    assert 43 <= sum(value < 0.5 for value in p) <= 77


@pytest.mark.parametrize("kind", STATISTICS)
def test_permutation_test_different_population_is_significant(kind: str) -> None:
    generator = np.random.default_rng(0)
    owner, values = correlated_images(generator, 80, kind)
    is_new = owner >= 40
    values = (
        np.where(is_new, 1, values) if kind == "tv" else values + 1.5 * is_new.reshape(-1, *[1] * (values.ndim - 1))
    )
    assert permutation_test(owner, is_new, STATISTICS[kind](values), seed=0).p < 0.01


def test_permutation_test_equal_seeds_give_equal_permutations() -> None:
    owner, values = correlated_images(np.random.default_rng(2), 20, "ks")
    first, again, other = (
        permutation_test(owner, owner >= 9, kolmogorov_smirnov(values), seed).chance for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
