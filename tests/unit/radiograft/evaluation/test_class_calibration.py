"""Calibration of exclusive classes: one temperature for all, and the reliability of the highest score."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference  # type: ignore[import-untyped]

from radiograft.evaluation.class_calibration import (
    apply_class_temperature,
    calibrate_classes,
    class_reliability,
    fit_class_temperature,
)
from tests.helpers.samples import class_frame

NAMES = ("nv", "mel", "bcc")


def overconfident(images: int, factor: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns truth and scores of three classes; the logits are too large by `factor`."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(images, 3), scale=1.5)
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (chances.cumsum(axis=1) > generator.random((images, 1))).argmax(axis=1)
    scaled = np.exp(factor * logits)
    return truth, scaled / scaled.sum(axis=1, keepdims=True)


def split(images: int, factor: float, seed: int) -> pd.DataFrame:
    return class_frame(NAMES, *overconfident(images, factor, seed))


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_fit_class_temperature_scaled_logits_recovers_factor(factor: float) -> None:
    assert fit_class_temperature(*overconfident(20_000, factor)) == pytest.approx(factor, rel=0.05)


def test_fit_class_temperature_certain_scores_stays_within_bounds() -> None:
    certain = np.eye(3)
    assert 0.05 <= fit_class_temperature([0, 1, 2], certain) < 0.5
    assert fit_class_temperature([1, 2, 0], certain) == pytest.approx(20.0, rel=0.01)


@given(st.integers(0, 100), st.floats(0.05, 20))
def test_apply_class_temperature_keeps_sum_and_predicted_class(seed: int, temperature: float) -> None:
    _, scores = overconfident(20, 1.0, seed)
    scaled = apply_class_temperature(scores, temperature)
    np.testing.assert_allclose(scaled.sum(axis=1), 1.0)
    np.testing.assert_array_equal(scaled.argmax(axis=1), scores.argmax(axis=1))


def test_class_reliability_worked_example() -> None:
    found = class_reliability(np.array([0, 1]), np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1]]))
    assert found["curve"] == [
        {"n_images": 1, "predicted": pytest.approx(0.6), "observed": 0.0},
        {"n_images": 1, "predicted": pytest.approx(0.8), "observed": 1.0},
    ]
    assert found["expected_error"] == pytest.approx((0.6 + 0.2) / 2)
    assert found["brier"] == pytest.approx((0.04 + 0.01 + 0.01 + 0.36 + 0.49 + 0.01) / 2)
    assert found["log_loss"] == pytest.approx(-(np.log(0.8) + np.log(0.3)) / 2)


def test_calibrate_classes_scales_overconfident_scores() -> None:
    test = split(3000, 3.0, seed=2)
    found = calibrate_classes(split(3000, 3.0, seed=1), test, NAMES, NAMES)
    classes = found["classes"]
    truth = test[[f"label:{name}" for name in NAMES]].to_numpy().argmax(axis=1)
    scores = test[[f"score:{name}" for name in NAMES]].to_numpy()
    assert classes["temperature"] == pytest.approx(3.0, rel=0.1)
    assert classes["before"]["log_loss"] == pytest.approx(reference.log_loss(truth, scores))
    assert classes["after"]["log_loss"] < classes["before"]["log_loss"]
    assert classes["after"]["expected_error"] < 0.03 < classes["before"]["expected_error"]
    shares = np.bincount(truth) / len(truth)
    always_shares = np.tile(shares, (len(truth), 1))
    assert classes["uninformed_log_loss"] == pytest.approx(reference.log_loss(truth, always_shares))
    assert classes["uninformed_brier"] == pytest.approx(1 - (shares**2).sum())
    assert (classes["n_images"], classes["n_patients"]) == (3000, 3000)
    assert {label["temperature"] for label in found["labels"].values()} == {classes["temperature"]}
    assert found["labels"]["nv"]["after"]["brier"] < found["labels"]["nv"]["before"]["brier"]
    json.dumps(found, allow_nan=False)


def test_calibrate_classes_temperature_ignores_test_labels() -> None:
    validation, test = split(200, 2.0, seed=1), split(200, 2.0, seed=2)
    swapped = test.rename(columns={"label:nv": "label:mel", "label:mel": "label:nv"})
    one, other = (calibrate_classes(validation, part, NAMES, NAMES)["classes"] for part in (test, swapped))
    assert one["temperature"] == other["temperature"]
    assert one["before"] != other["before"]


def test_calibrate_classes_unknown_images_are_left_out() -> None:
    test = split(100, 1.0, seed=2)
    unknown = split(5, 1.0, seed=3)
    unknown[[f"label:{name}" for name in NAMES]] = float("nan")
    validation = split(100, 1.0, seed=1)
    alone, mixed = (
        calibrate_classes(validation, part, NAMES, NAMES)["classes"]
        for part in (test, pd.concat([test, unknown], ignore_index=True))
    )
    assert mixed == alone


def test_calibrate_classes_without_known_test_images_has_no_classes() -> None:
    test = split(5, 1.0, seed=2)
    test[[f"label:{name}" for name in NAMES]] = float("nan")
    assert calibrate_classes(split(50, 1.0, seed=1), test, NAMES, []) == {
        "labels": {},
        "expected_error": None,
        "scaled_expected_error": None,
    }
