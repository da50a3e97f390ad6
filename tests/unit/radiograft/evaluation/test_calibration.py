"""Temperatures are the likeliest, chosen on validation alone; errors agree with scikit-learn."""

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
    """Truths, and scores whose logits are `factor` times as large as they should be."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(-1, 1.5, images)
    truth = (generator.random(images) < 1 / (1 + np.exp(-logits))).astype(float)
    return truth, 1 / (1 + np.exp(-factor * logits))


def split(images: int, factor: float, seed: int) -> pd.DataFrame:
    truth, scores = overconfident(images, factor, seed)
    return frame(each_its_own_patient(images), Mass=(truth.tolist(), scores.tolist()))


class TestTemperature:
    @pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
    def test_undoes_what_was_done_to_the_logits(self, factor: float) -> None:
        assert fit_temperature(*overconfident(20_000, factor)) == pytest.approx(factor, rel=0.05)

    def test_no_other_temperature_is_likelier(self) -> None:
        truth, scores = overconfident(500, 2.0)
        best = fit_temperature(truth, scores)
        losses = {
            each: reference.log_loss(truth, apply_temperature(scores, each))
            for each in (best, 0.9 * best, 1.1 * best, 1.0)
        }
        assert min(losses, key=losses.__getitem__) == best

    def test_stays_within_bounds_where_scores_are_certain(self) -> None:
        assert fit_temperature([0, 1], [0.0, 1.0]) == pytest.approx(0.05, rel=0.01)
        assert fit_temperature([0, 1], [1.0, 0.0]) == pytest.approx(20.0, rel=0.01)

    @given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.floats(0.05, 20))
    def test_scaling_keeps_order_and_range(self, scores: list[float], temperature: float) -> None:
        scaled = apply_temperature(scores, temperature)
        assert (np.diff(scaled[np.argsort(scores)]) >= 0).all()
        assert ((scaled >= 0) & (scaled <= 1)).all()
        assert apply_temperature([0.5], temperature) == pytest.approx([0.5])


class TestReliability:
    def test_worked_example(self) -> None:
        found = reliability([0, 1, 1, 1], [0.1, 0.1, 0.9, 0.9])
        assert found["expected_error"] == pytest.approx((0.4 + 0.1) / 2)
        assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)
        assert found["curve"] == [
            {"n_images": 2, "predicted": pytest.approx(0.1), "observed": 0.5},
            {"n_images": 2, "predicted": pytest.approx(0.9), "observed": 1.0},
        ]

    @settings(deadline=None)
    @given(scored_images())
    def test_agrees_with_scikit_learn(self, images: tuple[list[float], list[float]]) -> None:
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
    def test_scaling_helps_scores_that_are_too_sure(self) -> None:
        found = calibrate(split(3000, 3.0, seed=1), split(3000, 3.0, seed=2), ["Mass"])
        mass = found["labels"]["Mass"]
        assert mass["temperature"] == pytest.approx(3, rel=0.1)
        assert mass["after"]["expected_error"] < mass["before"]["expected_error"] / 3
        assert mass["after"]["brier"] < mass["before"]["brier"] < mass["uninformed_brier"]
        assert found["expected_error"] == mass["before"]["expected_error"]
        assert found["scaled_expected_error"] == mass["after"]["expected_error"]

    def test_no_test_truth_changes_a_temperature(self) -> None:
        validation, test = split(300, 2.0, seed=1), split(300, 2.0, seed=2)
        opposite = test.assign(**{"label:Mass": 1 - test["label:Mass"]})
        temperatures = [
            calibrate(validation, each, ["Mass"])["labels"]["Mass"]["temperature"] for each in (test, opposite)
        ]
        assert temperatures[0] == temperatures[1]

    def test_images_of_unknown_truth_change_nothing(self) -> None:
        validation, test = split(200, 2.0, seed=1), split(200, 2.0, seed=2)
        stranger = frame(["x"], Mass=([UNKNOWN], [0.99]))
        padded = [pd.concat([part, stranger], ignore_index=True) for part in (validation, test)]
        assert calibrate(padded[0], padded[1], ["Mass"]) == calibrate(validation, test, ["Mass"])

    def test_nothing_estimable_gives_no_number(self) -> None:
        found = calibrate(split(30, 1.0, seed=1), split(30, 1.0, seed=2), [])
        assert json.loads(json.dumps(found, allow_nan=False)) == {
            "labels": {},
            "expected_error": None,
            "scaled_expected_error": None,
        }
