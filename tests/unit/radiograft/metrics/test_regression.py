"""Metrics of numbers with their intervals, against scikit-learn and on literal examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from radiograft.metrics.regression import Reference, evaluate_targets, paired_mae
from radiograft.registry.result_types import TargetMetrics


def frame(truth: object, predicted: object, patients: object = None) -> pd.DataFrame:
    values = np.asarray(truth, "float64")
    ids = [f"i{number}" for number in range(len(values))]
    return pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": ids if patients is None else patients,
            "label:age": values,
            "score:age": np.asarray(predicted, "float64"),
        }
    )


def evaluate(rows: pd.DataFrame, samples: int = 200, min_patients: int = 1) -> TargetMetrics:
    metrics = evaluate_targets(rows, {"age": Reference(50.0, 40.0)}, samples, 0, min_patients)
    return metrics["regression"]["targets"]["age"]


def test_evaluate_targets_literal_example() -> None:
    """Errors 5, -5, 6 of 30, 40, 50; always 40 is wrong by 10, 0, 10, and always 50 by 20, 10, 0."""
    found = evaluate(frame([30, 40, 50, np.nan], [35, 35, 56, 0]), samples=0)
    assert found["n_images"] == 3
    assert found["mae"]["value"] == pytest.approx(16 / 3)
    assert found["rmse"]["value"] == pytest.approx(np.sqrt(86 / 3))
    assert found["r2"]["value"] == pytest.approx(1 - 86 / 200)
    assert found["mean_error"]["value"] == pytest.approx(2)
    spread = 1.96 * np.std([5, -5, 6], ddof=1)
    assert found["limit_low"]["value"] == pytest.approx(2 - spread)
    assert found["limit_high"]["value"] == pytest.approx(2 + spread)
    assert found["baseline_mae"]["value"] == pytest.approx(20 / 3)
    assert found["baseline_rmse"]["value"] == pytest.approx(np.sqrt(500 / 3))
    assert found["mae_difference"]["value"] == pytest.approx(-4 / 3)


@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.floats(0.001, 1e4))
@settings(max_examples=30, deadline=None)
def test_evaluate_targets_agrees_with_scikit_learn(seed: int, images: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = rng.normal(5, 1, images) * unit, rng.normal(5, 1, images) * unit
    found = evaluate(frame(truth, predicted), samples=0)
    assert found["mae"]["value"] == pytest.approx(mean_absolute_error(truth, predicted))
    assert found["rmse"]["value"] == pytest.approx(root_mean_squared_error(truth, predicted))
    assert found["r2"]["value"] == pytest.approx(r2_score(truth, predicted), abs=1e-9)


def test_evaluate_targets_resamples_patients_not_images() -> None:
    """Ten copies of each image of a patient leave the interval as it is."""
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=30), rng.normal(size=30)
    patients = [f"p{number:02d}" for number in range(30)]
    once = evaluate(frame(truth, predicted, patients))
    repeated = evaluate(frame(np.repeat(truth, 10), np.repeat(predicted, 10), np.repeat(patients, 10)))
    assert repeated["mae"]["low"] == pytest.approx(once["mae"]["low"])
    assert repeated["r2"]["high"] == pytest.approx(once["r2"]["high"])


def test_evaluate_targets_interval_covers_the_true_error() -> None:
    """Of 100 samples of a known error, the 95% interval covers its mean in at least 85."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        truth = rng.normal(60, 15, 80)
        found = evaluate(frame(truth, truth + rng.normal(0, 10, 80)), samples=200)["mae"]
        assert found["low"] is not None
        assert found["high"] is not None
        covered += found["low"] <= 10 * np.sqrt(2 / np.pi) <= found["high"]
    assert covered >= 85


@pytest.mark.parametrize(("truth", "min_patients"), [([3.0, 3.0, 3.0], 1), ([1.0, 2.0, np.nan], 3), ([np.nan] * 3, 1)])
def test_evaluate_targets_without_enough_values_is_not_estimable(truth: list[float], min_patients: int) -> None:
    metrics = evaluate_targets(frame(truth, [1, 2, 3]), {"age": Reference(2.0, 2.0)}, 50, 0, min_patients)
    assert metrics["regression"]["estimable"] == []
    assert metrics["regression"]["targets"]["age"]["mae"]["value"] is None
    assert metrics["regression"]["r2"]["value"] is None


def test_evaluate_targets_perfect_prediction_has_no_interval() -> None:
    found = evaluate(frame([1, 2, 3, 4], [1, 2, 3, 4]))
    assert found["mae"] == {"value": 0.0, "low": None, "high": None}


def test_evaluate_targets_infinite_prediction_raises() -> None:
    with pytest.raises(ValueError, match="predictions must be finite, got 1 others"):
        evaluate(frame([1, 2], [1, np.inf]))


def test_paired_mae_uses_the_same_resamples_for_all_models() -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.normal(size=20), rng.normal(size=20)
    values = paired_mae([frame(truth, predicted), frame(truth, predicted)], "age", 50, 0)
    assert values.shape == (51, 2)
    assert (values[:, 0] == values[:, 1]).all()
    other = frame(truth, predicted)[::-1]
    with pytest.raises(ValueError, match="same images in the same order"):
        paired_mae([frame(truth, predicted), other], "age", 50, 0)
