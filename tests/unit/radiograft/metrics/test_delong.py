"""DeLong's method against a published example, scikit-learn, its definition, and bootstrap resampling of patients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn import metrics as reference  # type: ignore[import-untyped]

from radiograft.metrics import delong
from radiograft.metrics.multilabel import evaluate_label
from tests.helpers.samples import UNKNOWN, each_its_own_patient, noisy_scores, scored_images

# Ovarian cancer patients from DeLong, DeLong and Clarke-Pearson (1988), as printed in SAS/STAT's guide to PROC LOGISTIC
# (example "Comparing Receiver Operating Characteristic Curves"): albumin, total protein, K-G score, outcome.
OVARIAN_CANCER = """
    3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
    3.8 5.7 5 1   3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
    2.3 4.4 6 1   4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
    3.1 6.6 6 1   4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
    3.7 6.1 5 1   3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
    3.3 5.7 6 1   3.7 6.9 5 1  3.6 6.6 5 1
"""
ALBUMIN, PROTEIN, KG_SCORE, OUTCOME = np.array(OVARIAN_CANCER.split(), dtype=float).reshape(-1, 4).T
TESTS = {"albumin": ALBUMIN, "protein": PROTEIN, "K-G score": 10 - KG_SCORE}


@pytest.mark.parametrize(
    ("name", "area", "error"),
    [("albumin", 0.7366, 0.0927), ("protein", 0.6478, 0.1000), ("K-G score", 0.7258, 0.1028)],
)
def test_auroc_interval_published_example_matches(name: str, area: float, error: float) -> None:
    found = delong.auroc_interval(OUTCOME, TESTS[name])
    value = found["value"]
    assert value == pytest.approx(area, abs=5e-5)
    low, high = (math.log(found[bound] / (1 - found[bound])) for bound in ("low", "high"))  # type: ignore[operator]
    assert (low + high) / 2 == pytest.approx(math.log(value / (1 - value)))
    assert (high - low) / (2 * 1.959964) * value * (1 - value) == pytest.approx(error, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "difference", "error", "p_value"),
    [("albumin", 0.0108, 0.0953, 0.9102), ("protein", -0.0780, 0.1046, 0.4561)],
)
def test_compare_aurocs_published_example_matches(name: str, difference: float, error: float, p_value: float) -> None:
    found = delong.compare_aurocs(OUTCOME, TESTS[name], TESTS["K-G score"])
    assert found.difference == pytest.approx(difference, abs=5e-5)
    assert math.sqrt(found.variance) == pytest.approx(error, abs=5e-5)
    assert found.p_value == pytest.approx(p_value, abs=5e-5)


@settings(deadline=None)
@given(scored_images())
def test_compare_aurocs_matches_definition(images: tuple[list[float], list[float]]) -> None:
    truth, scores = (np.asarray(column) for column in images)
    assert delong.auroc_interval(truth, scores)["value"] == pytest.approx(reference.roc_auc_score(truth, scores))
    positives, negatives = scores[truth == 1], scores[truth == 0]
    wins = np.sign(positives[:, None] - negatives) / 2 + 0.5
    expected = math.nan
    if min(wins.shape) > 1:
        expected = wins.mean(axis=1).var(ddof=1) / len(positives) + wins.mean(axis=0).var(ddof=1) / len(negatives)
    # Compared with a constant score, the variance of the difference is that of the AUROC.
    found = delong.compare_aurocs(truth, scores, np.zeros(len(truth)))
    assert found.variance == pytest.approx(expected, nan_ok=True)
    assert found.difference == pytest.approx(wins.mean() - 0.5)


def test_auroc_interval_clustered_patients_matches_bootstrap() -> None:
    generator = np.random.default_rng(0)
    patients = np.arange(900) % 300
    truth = (generator.random(900) < np.where(patients < 100, 0.9, 0.1)).astype(float)
    scores = 1 / (1 + np.exp(-(1.2 * truth + generator.normal(size=300)[patients] + generator.normal(size=900) / 2)))
    clustered, independent = (delong.auroc_interval(truth, scores, ids) for ids in (patients, None))
    resampled = evaluate_label(truth, scores, patients, 0.5, 4000, 0)["auroc"]
    for bound in ("low", "high"):
        assert clustered[bound] == pytest.approx(resampled[bound], abs=0.004)
        assert abs(independent[bound] - resampled[bound]) > 0.01  # type: ignore[operator]


def test_auroc_interval_duplicated_images_is_unchanged() -> None:
    truth, scores = noisy_scores(120)
    patients = np.array(each_its_own_patient(120))
    once = delong.auroc_interval(truth, scores, patients)
    fourfold = delong.auroc_interval(np.repeat(truth, 4), np.repeat(scores, 4), np.repeat(patients, 4))
    assert fourfold == pytest.approx(once)


def test_auroc_interval_uses_only_order_of_scores_and_known_truth() -> None:
    truth, scores = noisy_scores(80)
    padded = delong.auroc_interval([*truth, UNKNOWN], [*(1000 * scores - 7), UNKNOWN])
    assert padded == pytest.approx(delong.auroc_interval(truth, scores))


def test_auroc_interval_perfect_separation_has_exact_bounds() -> None:
    """Fails if a variance of 0 counts as certainty: two pairs of patients say little."""
    assert delong.auroc_interval([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == {
        "value": 1.0,
        "low": pytest.approx(0.025**0.5),
        "high": 1.0,
        "method": "Clopper-Pearson",
    }


def test_delong_one_patient_in_class_has_no_variance() -> None:
    truth, scores = [0, 0, 0, 1, 1], [0.1, 0.7, 0.4, 0.6, 0.5]
    assert delong.auroc_interval(truth, scores, ["a", "b", "c", "d", "d"])["low"] is None
    found = delong.compare_aurocs(truth, scores, [0.1, 0.2, 0.3, 0.4, 0.5], ["a", "b", "c", "d", "d"])
    assert math.isnan(found.variance)
    assert math.isnan(found.p_value)


def test_compare_aurocs_residuals_cancel_per_patient_has_exact_bounds() -> None:
    """Fails if the variance keeps rounding errors, or if unequal AUROCs with variance 0 get an interval of no width."""
    # In each patient, the residual of the positive image cancels those of the negative images.
    truth, patients = [1, 0, 1, 0, 1, 0, 0, 0], [1, 2, 2, 2, 0, 1, 1, 0]
    one = [0.86, 0.81, 0.48, 0.39, 0.33, 0.73, 0.99, 0.23]
    assert delong.compare_aurocs(truth, one, [0.25, 0.55, 0.72, 0.73, 0.41, 0.2, 0.61, 0.34], patients).variance == 0
    found = delong.compare_aurocs([1, 0, 0, 0, 1], [0, 3, 3, 3, 0], [4, 1, 2, 1, 4], [2, 1, 2, 0, 3])
    assert (found.difference, found.variance) == (-1, 0)
    assert math.isnan(found.p_value)
    high = pytest.approx(2**0.5 * (1 - 0.025**0.5) - 1)  # two pairs of patients
    assert found.estimate() == {"value": -1, "low": -1, "high": high, "method": "Newcombe"}


def test_compare_aurocs_same_ranking_has_difference_without_error() -> None:
    """Fails if a variance of 0 is always treated as not estimable."""
    truth, scores = noisy_scores(60)
    for other in (scores, scores**2):
        estimate = delong.compare_aurocs(truth, scores, other).estimate()
        assert estimate == {"value": 0, "low": 0, "high": 0, "method": "identical"}


def test_compare_aurocs_two_perfect_models_have_an_interval() -> None:
    """Fails if two models that make no error on ten patients count as equal without doubt."""
    truth = [0] * 5 + [1] * 5
    estimate = delong.compare_aurocs(truth, range(10), [0, 0, 0, 0, 0, 9, 8, 7, 6, 5]).estimate()
    loss = 1 - 0.025**0.2
    assert estimate == {
        "value": 0,
        "low": pytest.approx(-loss),
        "high": pytest.approx(loss),
        "method": "Newcombe",
    }


def test_compare_aurocs_same_model_has_p_value_1() -> None:
    truth, scores = noisy_scores(60)
    found = delong.compare_aurocs(truth, scores, scores)
    assert (found.difference, found.variance, found.p_value) == (0.0, 0.0, 1.0)


def test_compare_aurocs_swapped_models_flips_sign() -> None:
    truth, scores = noisy_scores(200)
    _, worse = noisy_scores(200, seed=1)
    result, swapped = delong.compare_aurocs(truth, scores, worse), delong.compare_aurocs(truth, worse, scores)
    assert result.difference == -swapped.difference > 0.1
    assert result.p_value == pytest.approx(swapped.p_value)
    assert result.p_value < 0.01


@pytest.mark.parametrize(
    ("truth", "scores", "message"),
    [
        ([1, 1, UNKNOWN], [0.1, 0.2, 0.3], r"truth must contain both 0 and 1 and no other value, got \[1.0\]"),
        ([0, 1, 2], [0.1, 0.2, 0.3], r"truth must contain .*, got \[0.0, 1.0, 2.0\]"),
        ([0, 1], [0.1, UNKNOWN], "needs a score, got NaN"),
        ([0, 1], [0.1, 0.2, 0.3], "vectors of equal length"),
    ],
)
def test_auroc_interval_invalid_input_raises(truth: list[float], scores: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        delong.auroc_interval(truth, scores)
