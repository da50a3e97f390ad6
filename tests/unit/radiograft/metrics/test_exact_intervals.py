"""Exact intervals against published figures, and the laws of every interval: it has a width and holds its estimate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.metrics import delong
from radiograft.metrics.exact_intervals import (
    auroc_pair_interval,
    difference_interval,
    f1_interval,
    mean_interval,
    proportion_interval,
    rate_interval,
)
from radiograft.metrics.label_metrics import STATISTICS
from radiograft.metrics.multilabel import evaluate_label, evaluate_predictions
from tests.helpers.samples import each_its_own_patient, frame, scored_images

COUNTS = st.integers(1, 500)


def bounds(estimate: Any) -> list[float]:
    return [estimate["low"], estimate["high"]]


@pytest.mark.parametrize(
    ("successes", "trials", "expected"),
    [(0, 10, [0.0, 0.3085]), (10, 10, [0.6915, 1.0]), (7, 20, [0.1539, 0.5922]), (81, 263, [0.2527, 0.3676])],
)
def test_proportion_interval_matches_published_tables(successes: int, trials: int, expected: list[float]) -> None:
    """The last one is from Newcombe 1998, table I, method 5."""
    assert bounds(proportion_interval(successes / trials, trials)) == pytest.approx(expected, abs=5e-5)


@given(st.floats(0, 1), COUNTS)
def test_proportion_interval_contains_estimate_and_has_width(value: float, trials: int) -> None:
    low, high = bounds(proportion_interval(value, trials))
    assert 0 <= low <= value <= high <= 1
    assert low < high


@given(st.floats(0, 1), COUNTS)
def test_proportion_interval_swapped_classes_is_mirrored(value: float, trials: int) -> None:
    low, high = bounds(proportion_interval(value, trials))
    assert bounds(proportion_interval(1 - value, trials)) == pytest.approx([1 - high, 1 - low], abs=1e-9)


@pytest.mark.parametrize(("events", "expected"), [(0, [0.0, 3.6889]), (1, [0.0253, 5.5716]), (10, [4.7954, 18.3904])])
def test_rate_interval_matches_garwood(events: int, expected: list[float]) -> None:
    assert bounds(rate_interval(events / 4, 4)) == pytest.approx(np.array(expected) / 4, abs=5e-5)


def test_auroc_pair_interval_counts_pairs_that_share_no_patient() -> None:
    """Fails if pairs share patients: they are then no independent trials, and the interval is too narrow."""
    for positives, negatives, patients, pairs in [(10, 40, 50, 10), (40, 10, 50, 10), (6, 6, 6, 3)]:
        estimate = auroc_pair_interval(1.0, positives, negatives, patients)
        assert bounds(estimate) == pytest.approx([0.025 ** (1 / pairs), 1.0])


def test_auroc_pair_interval_covers_true_value_of_rarely_wrong_scores() -> None:
    """The true AUROC is 0.97: in about half of the samples no pair of six and six patients is in the wrong order."""
    generator = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        wrong = generator.random(6) < 0.03
        scores = np.concatenate([np.zeros(6), np.where(wrong, -1, 1)])
        estimate = delong.auroc_interval([0] * 6 + [1] * 6, scores)
        if not wrong.any():
            covered.append(estimate["low"] <= 0.97 <= estimate["high"])  # type: ignore[operator]
    assert len(covered) > 200
    assert all(covered)


@given(st.floats(0, 1), COUNTS)
def test_f1_interval_contains_estimate_and_has_width(value: float, patients: int) -> None:
    low, high = bounds(f1_interval(value, patients))
    assert 0 <= low <= value + 1e-12
    assert value - 1e-12 <= high <= 1
    assert low < high


@given(st.floats(0, 1), st.floats(0, 1), COUNTS, COUNTS)
def test_difference_interval_contains_estimate_and_swaps_sign(a: float, b: float, m: int, n: int) -> None:
    first, second = proportion_interval(a, m), proportion_interval(b, n)
    low, high = bounds(difference_interval(first, second))
    assert -1 <= low <= a - b <= high <= 1
    assert low < high
    assert bounds(difference_interval(second, first)) == pytest.approx([-high, -low])


def test_difference_interval_of_unknown_bounds_has_none() -> None:
    unknown = proportion_interval(0.5, 4) | {"low": None, "high": None}
    assert difference_interval(unknown, proportion_interval(0.25, 4)) == {"value": 0.25, "low": None, "high": None}  # type: ignore[arg-type]


def test_mean_interval_of_one_label_is_its_interval() -> None:
    one, other = proportion_interval(1.0, 10), proportion_interval(0.5, 10)
    assert mean_interval([one]) == one
    assert bounds(mean_interval([one, other])) == pytest.approx([(0.6915 + 0.1871) / 2, (1 + 0.8129) / 2], abs=1e-4)


def test_evaluate_label_perfect_model_has_intervals_by_patient() -> None:
    """Ten patients with and thirty without the label, two images each; the bootstrap alone says 1 to 1."""
    truth = np.repeat([1.0] * 10 + [0.0] * 30, 2)
    got = evaluate_label(truth, 0.1 + 0.8 * truth, np.repeat(each_its_own_patient(40), 2), 0.5, 200, 0)
    lows = {name: got[name]["low"] for name in STATISTICS}  # type: ignore[literal-required]
    of_ten, of_thirty, of_forty = (0.025 ** (1 / n) for n in (10, 30, 40))
    assert lows == pytest.approx(
        {
            "auroc": of_ten,
            "average_precision": of_ten,
            "accuracy": of_forty,
            "sensitivity": of_ten,
            "specificity": of_thirty,
            "ppv": of_ten,
            "npv": of_thirty,
            "f1": 2 * of_ten / (1 + of_ten),
            "brier": proportion_interval(0.01, 40)["low"],
        }
    )
    assert {got[name]["method"] for name in STATISTICS} == {"Clopper-Pearson"}  # type: ignore[literal-required]
    assert got["auroc_delong"] == got["auroc"]


def test_evaluate_predictions_mean_of_one_label_is_the_label() -> None:
    """Fails if the same quantity has two intervals on a page."""
    truth = [1.0] * 10 + [0.0] * 10
    rows = frame(each_its_own_patient(20), Mass=(truth, truth))
    got = evaluate_predictions(rows, ["Mass"], {"Mass": 0.5}, 100, 0)
    for name in STATISTICS:
        assert got["mean"][name] == got["labels"]["Mass"][name]  # type: ignore[literal-required]


@settings(deadline=None, max_examples=60)
@given(scored_images(), st.integers(1, 4), st.sampled_from([0.25, 0.5, 1.0]))
def test_evaluate_label_any_interval_has_width(
    images: tuple[list[float], list[float]], per_patient: int, threshold: float
) -> None:
    truth, scores = images
    patients = [f"{number // per_patient}" for number in range(len(truth))]
    got = evaluate_label(truth, scores, patients, threshold, 60, 0)
    for name in (*STATISTICS, "auroc_delong"):
        estimate = got[name]  # type: ignore[literal-required]
        if estimate["low"] is not None:
            assert estimate["low"] < estimate["high"], name
            assert math.isfinite(estimate["low"] + estimate["high"])


@settings(deadline=None, max_examples=60)
@given(scored_images())
def test_auroc_interval_swapped_classes_is_mirrored(images: tuple[list[float], list[float]]) -> None:
    truth, scores = images
    one, other = delong.auroc_interval(truth, scores), delong.auroc_interval([1 - value for value in truth], scores)
    assert other["value"] == pytest.approx(1 - (one["value"] or 0))
    if one["low"] is not None:
        assert bounds(other) == pytest.approx([1 - bound for bound in reversed(bounds(one))], abs=1e-9)
        assert one["low"] <= (one["value"] or 0) <= one["high"]  # type: ignore[operator]
        assert one["low"] < one["high"]  # type: ignore[operator]
