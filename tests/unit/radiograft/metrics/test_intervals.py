"""Bootstrap intervals against theory; patients are the unit of resampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.metrics.label_metrics import STATISTICS, compute_statistics, rank_label
from radiograft.metrics.multilabel import evaluate_label, evaluate_predictions
from tests.helpers.samples import UNKNOWN, each_its_own_patient, frame, noisy_scores, scored_images


def width(estimate: Any) -> float:
    return float(estimate["high"] - estimate["low"])


def test_accuracy_one_image_per_patient_has_binomial_interval() -> None:
    truth, scores = noisy_scores(400)
    got = evaluate_label(truth, scores, each_its_own_patient(400), 0.5, 4000, 0)["accuracy"]
    assert got["value"] is not None
    half = 1.96 * np.sqrt(got["value"] * (1 - got["value"]) / 400)
    assert got["low"] == pytest.approx(got["value"] - half, abs=0.005)
    assert got["high"] == pytest.approx(got["value"] + half, abs=0.005)


def test_auroc_one_image_per_patient_has_hanley_mcneil_interval() -> None:
    truth, scores = noisy_scores(600)
    got = evaluate_label(truth, scores, each_its_own_patient(600), 0.5, 4000, 0)["auroc"]
    area, positives, negatives = got["value"], truth.sum(), (1 - truth).sum()
    assert area is not None
    both_positive, both_negative = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (
        area * (1 - area) + (positives - 1) * (both_positive - area**2) + (negatives - 1) * (both_negative - area**2)
    ) / (positives * negatives)
    assert width(got) == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.15)


def test_evaluate_label_duplicated_images_is_unchanged() -> None:
    truth, scores = noisy_scores(120)
    once = evaluate_label(truth, scores, each_its_own_patient(120), 0.5, 200, 7)
    fourfold = evaluate_label(
        np.repeat(truth, 4), np.repeat(scores, 4), np.repeat(each_its_own_patient(120), 4), 0.5, 200, 7
    )
    for name in ("auroc", "average_precision", "accuracy", "sensitivity", "specificity"):
        assert fourfold[name] == pytest.approx(once[name])


def test_evaluate_label_images_as_patients_halves_interval() -> None:
    truth, scores = (np.repeat(column, 4) for column in noisy_scores(120))
    by_patient = evaluate_label(truth, scores, np.repeat(each_its_own_patient(120), 4), 0.5, 1000, 7)
    by_image = evaluate_label(truth, scores, each_its_own_patient(480), 0.5, 1000, 7)
    assert width(by_patient["auroc"]) / width(by_image["auroc"]) == pytest.approx(2, abs=0.3)


@settings(deadline=None)
@given(st.data())
def test_compute_statistics_weights_match_repeated_rows(data: st.DataObject) -> None:
    truth, scores = data.draw(scored_images())
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(truth), max_size=len(truth)))
    patients = np.arange(len(truth))
    weighted = compute_statistics(rank_label(truth, scores, patients, 0.5), np.array([times], dtype=float))
    repeated = rank_label(np.repeat(truth, times), np.repeat(scores, times), np.repeat(patients, times), 0.5)
    rows = compute_statistics(repeated, np.ones((1, sum(times))))
    np.testing.assert_allclose(weighted, rows, rtol=1e-12)


def test_evaluate_label_interval_contains_value() -> None:
    truth, scores = noisy_scores(300)
    got = evaluate_label(truth, scores, np.repeat(each_its_own_patient(100), 3), 0.5, 500, 0)
    for name in ("auroc", "average_precision", "accuracy", "sensitivity", "specificity"):
        low, value, high = (got[name][part] or 0.0 for part in ("low", "value", "high"))
        assert 0 < low < value < high < 1


def test_evaluate_predictions_one_patient_has_no_interval() -> None:
    predictions = frame(["only"] * 4, finding=([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    got = evaluate_predictions(predictions, ["finding"], {"finding": 0.5}, 500, 0)
    value_only = {"value": 0.75, "low": None, "high": None}
    assert got["labels"]["finding"]["auroc"] == value_only
    assert got["mean"]["auroc"] == value_only


def test_evaluate_label_known_for_one_patient_has_no_interval() -> None:
    truth = [0.0, 1.0, UNKNOWN, UNKNOWN]
    got = evaluate_label(truth, [0.2, 0.8, 0.5, 0.5], ["a", "a", "b", "c"], 0.5, 500, 0)
    assert got["auroc"] == {"value": 1.0, "low": None, "high": None}


def test_evaluate_label_too_few_resamples_has_no_interval() -> None:
    truth, scores = noisy_scores(50)
    assert evaluate_label(truth, scores, each_its_own_patient(50), 0.5, 39, 0)["auroc"]["low"] is None
    assert evaluate_label(truth, scores, each_its_own_patient(50), 0.5, 40, 0)["auroc"]["low"] is not None


def test_evaluate_label_resamples_without_positives_are_skipped() -> None:
    got = evaluate_label([1, 0, 0, 0], [0.6, 0.1, 0.2, 0.9], ["a", "b", "c", "d"], 0.5, 500, 0)
    assert got["auroc"]["value"] == pytest.approx(2 / 3)
    assert (got["auroc"]["low"], got["auroc"]["high"]) == (0.0, 1.0)
    assert (got["sensitivity"]["low"], got["sensitivity"]["high"]) == (pytest.approx(0.025), 1.0)


def test_evaluate_predictions_labels_share_resamples() -> None:
    truth, scores = noisy_scores(200)
    pair = (truth.tolist(), scores.tolist())
    mirror = ((1 - truth).tolist(), (1 - scores).tolist())
    predictions = frame(each_its_own_patient(200), one=pair, other=mirror)
    got = evaluate_predictions(predictions, ["one", "other"], {"one": 0.5, "other": 0.5}, 300, 0)
    assert got["mean"]["auroc"] == pytest.approx(got["labels"]["one"]["auroc"])


def test_evaluate_predictions_depends_on_seed_but_not_on_row_order() -> None:
    truth, scores = noisy_scores(200)
    predictions = frame([f"{i % 60}" for i in range(200)], finding=(truth.tolist(), scores.tolist()))
    shuffled = predictions.sample(frac=1, random_state=1)

    def evaluate(rows: pd.DataFrame, seed: int) -> Any:
        return evaluate_predictions(rows, ["finding"], {"finding": 0.5}, 100, seed)

    for name in (*STATISTICS, "auroc_delong"):
        original, reordered = (evaluate(rows, 3)["labels"]["finding"][name] for rows in (predictions, shuffled))
        assert original == pytest.approx(reordered, rel=1e-12)
    assert evaluate(predictions, 4)["mean"]["auroc"]["low"] != evaluate(predictions, 3)["mean"]["auroc"]["low"]
