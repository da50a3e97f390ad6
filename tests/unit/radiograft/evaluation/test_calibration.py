"""Temperature scaling and calibration errors, checked against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference  # type: ignore[import-untyped]
from sklearn.calibration import calibration_curve  # type: ignore[import-untyped]

from radiograft.evaluation.calibration import apply_temperature, calibrate, fit_temperature, reliability
from tests.helpers.samples import UNKNOWN, each_its_own_patient, frame, scored_images


def overconfident(images: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns truth and scores; the logits are too large by `factor`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1, 1.5, images)
    truth = (generator.random(images) < 1 / (1 + np.exp(-logits))).astype(float)
    return truth, 1 / (1 + np.exp(-factor * logits))


def split(images: int, factor: float, seed: int) -> pd.DataFrame:
    """Returns predictions for Mass with overconfident scores."""
    truth, scores = overconfident(images, factor, seed)
    return frame(each_its_own_patient(images), Mass=(truth.tolist(), scores.tolist()))


class TestTemperature:
    @pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
    def test_fit_temperature_scaled_logits_recovers_factor(self, factor: float) -> None:
        assert fit_temperature(*overconfident(20_000, factor)) == pytest.approx(factor, rel=0.05)

    def test_fit_temperature_minimizes_log_loss(self) -> None:
        truth, scores = overconfident(500, 2.0)
        best = fit_temperature(truth, scores)
        losses = {
            temperature: reference.log_loss(truth, apply_temperature(scores, temperature))
            for temperature in (best, 0.9 * best, 1.1 * best, 1.0)
        }
        assert min(losses, key=losses.__getitem__) == best

    def test_fit_temperature_certain_scores_stays_within_bounds(self) -> None:
        assert fit_temperature([0, 1], [0.0, 1.0]) == pytest.approx(0.05, rel=0.01)
        assert fit_temperature([0, 1], [1.0, 0.0]) == pytest.approx(20.0, rel=0.01)

    @given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.05, 20))
    def test_apply_temperature_keeps_order_and_range(self, scores: list[float], temperature: float) -> None:
        scaled = apply_temperature(scores, temperature)
        assert (np.diff(scaled[np.argsort(scores)]) >= 0).all()
        assert ((scaled >= 0) & (scaled <= 1)).all()
        assert apply_temperature([0.5], temperature) == pytest.approx([0.5])


class TestReliability:
    def test_reliability_worked_example(self) -> None:
        found = reliability([0, 1, 1, 1], [0.1, 0.1, 0.9, 0.9])
        assert found["expected_error"] == pytest.approx((0.4 + 0.1) / 2)
        assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
        assert found["curve"] == [
            {"n_images": 2, "predicted": pytest.approx(0.1), "observed": 0.5},
            {"n_images": 2, "predicted": pytest.approx(0.9), "observed": 1.0},
        ]

    @settings(deadline=None)
    @given(scored_images())
    def test_reliability_matches_scikit_learn(self, images: tuple[list[float], list[float]]) -> None:
        truth, scores = images
        found = reliability(truth, scores)
        observed, predicted = calibration_curve(truth, scores, n_bins=10, strategy="quantile")
        np.testing.assert_allclose([point["observed"] for point in found["curve"]], observed)
        np.testing.assert_allclose([point["predicted"] for point in found["curve"]], predicted, atol=1e-12)
        counts = [point["n_images"] for point in found["curve"]]
        assert sum(counts) == len(truth)
        assert found["expected_error"] == pytest.approx(np.average(np.abs(observed - predicted), weights=counts))
        assert found["brier"] == pytest.approx(reference.brier_score_loss(truth, scores))


class TestCalibrate:
    def test_calibrate_overconfident_scores_improve(self) -> None:
        found = calibrate(split(3000, 3.0, seed=1), split(3000, 3.0, seed=2), ["Mass"])
        mass = found["labels"]["Mass"]
        assert mass["temperature"] == pytest.approx(3, rel=0.1)
        assert mass["after"]["expected_error"] < mass["before"]["expected_error"] / 3
        assert mass["after"]["brier"] < mass["before"]["brier"] < mass["uninformed_brier"]
        assert found["expected_error"] == mass["before"]["expected_error"]
        assert found["scaled_expected_error"] == mass["after"]["expected_error"]

    def test_calibrate_test_truth_does_not_affect_temperature(self) -> None:
        validation, test = split(300, 2.0, seed=1), split(300, 2.0, seed=2)
        opposite = test.assign(**{"label:Mass": 1 - test["label:Mass"]})
        temperatures = [
            calibrate(validation, part, ["Mass"])["labels"]["Mass"]["temperature"] for part in (test, opposite)
        ]
        assert temperatures[0] == temperatures[1]

    def test_calibrate_unknown_truth_is_ignored(self) -> None:
        validation, test = split(200, 2.0, seed=1), split(200, 2.0, seed=2)
        unlabeled = frame(["x"], Mass=([UNKNOWN], [0.99]))
        padded = [pd.concat([part, unlabeled], ignore_index=True) for part in (validation, test)]
        assert calibrate(padded[0], padded[1], ["Mass"]) == calibrate(validation, test, ["Mass"])

    def test_calibrate_no_estimable_label_returns_none(self) -> None:
        found = calibrate(split(30, 1.0, seed=1), split(30, 1.0, seed=2), [])
        assert json.loads(json.dumps(found, allow_nan=False)) == {
            "labels": {},
            "expected_error": None,
            "scaled_expected_error": None,
        }
