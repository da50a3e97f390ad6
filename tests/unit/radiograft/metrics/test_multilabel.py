"""Metrics against hand computation and scikit-learn; metrics that cannot be estimated are None."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference  # type: ignore[import-untyped]

from radiograft.metrics.multilabel import evaluate_label, evaluate_predictions
from tests.helpers.samples import UNKNOWN, each_its_own_patient, frame, scored_images


class TestPointValues:
    def test_evaluate_label_worked_example(self) -> None:
        # Of the four pairs (positive, negative), three are ranked correctly. Precision is 1 at the first positive
        # and 2/3 at the second.
        got = evaluate_label([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], each_its_own_patient(4), 0.375, 0, 0)
        assert got["auroc"] == {"value": 0.75, "low": None, "high": None}
        assert got["average_precision"]["value"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
        assert got["confusion"] == [[1, 1], [1, 1]]
        assert (got["accuracy"]["value"], got["majority_accuracy"]) == (0.5, 0.5)
        assert (got["sensitivity"]["value"], got["specificity"]["value"]) == (0.5, 0.5)
        assert (got["n_images"], got["n_patients"], got["positives"], got["estimable"]) == (4, 4, 2, True)
        assert (got["positive_patients"], got["negative_patients"]) == (2, 2)

    def test_evaluate_label_tie_counts_half(self) -> None:
        got = evaluate_label([0, 1, 1], [0.5, 0.5, 0.9], each_its_own_patient(3), 0.5, 0, 0)
        assert got["auroc"]["value"] == 0.75
        assert got["average_precision"]["value"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)

    def test_evaluate_label_score_at_threshold_is_positive(self) -> None:
        got = evaluate_label([0, 1], [0.3, 0.5], each_its_own_patient(2), 0.5, 0, 0)
        assert got["confusion"] == [[1, 0], [0, 1]]

    @settings(deadline=None)
    @given(scored_images(), st.floats(0, 1))
    def test_evaluate_label_matches_scikit_learn(
        self, images: tuple[list[float], list[float]], threshold: float
    ) -> None:
        truth, scores = images
        got = evaluate_label(truth, scores, each_its_own_patient(len(truth)), threshold, 0, 0)
        predicted = np.asarray(scores) >= threshold
        assert got["auroc"]["value"] == pytest.approx(reference.roc_auc_score(truth, scores))
        assert got["average_precision"]["value"] == pytest.approx(reference.average_precision_score(truth, scores))
        assert got["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, predicted))
        assert got["sensitivity"]["value"] == pytest.approx(reference.recall_score(truth, predicted))
        assert got["specificity"]["value"] == pytest.approx(reference.recall_score(truth, predicted, pos_label=0))
        assert got["confusion"] == reference.confusion_matrix(truth, predicted).tolist()
        assert got["f1"]["value"] == pytest.approx(reference.f1_score(truth, predicted))
        assert got["brier"]["value"] == pytest.approx(reference.brier_score_loss(truth, scores))
        for name, positive in (("ppv", 1), ("npv", 0)):
            value = reference.precision_score(truth, predicted, pos_label=positive, zero_division=np.nan)
            assert got[name]["value"] == (None if np.isnan(value) else pytest.approx(value))

    def test_evaluate_label_unknown_truth_is_ignored(self) -> None:
        truth, scores = [0.0, 0.0, 1.0, 1.0], [0.1, 0.4, 0.35, 0.8]
        patients = ["a", "b", "c", "d"]
        known = evaluate_label(truth, scores, patients, 0.5, 100, 0)
        padded = evaluate_label(
            [UNKNOWN, *truth, UNKNOWN], [0.99, *scores, UNKNOWN], ["a", *patients, "d"], 0.5, 100, 0
        )
        assert padded == known


class TestNotEstimable:
    @pytest.mark.parametrize("truth", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [UNKNOWN] * 3, [UNKNOWN, 0.0, 0.0]])
    def test_evaluate_label_one_class_has_no_auroc(self, truth: list[float]) -> None:
        got = evaluate_label(truth, [0.2, 0.5, 0.7], ["a", "b", "c"], 0.5, 50, 0)
        assert got["estimable"] is False
        for name in ("auroc", "average_precision"):
            assert got[name] == {"value": None, "low": None, "high": None}

    @pytest.mark.parametrize(
        ("truth", "accuracy", "sensitivity", "specificity"),
        [
            ([0.0, 0.0, 0.0], 1 / 3, None, 1 / 3),
            ([1.0, 1.0, 1.0], 2 / 3, 2 / 3, None),
            ([UNKNOWN, 0.0, 0.0], 0.0, None, 0.0),
            ([UNKNOWN] * 3, None, None, None),
        ],
    )
    def test_evaluate_label_one_class_keeps_defined_metrics(
        self, truth: list[float], accuracy: float | None, sensitivity: float | None, specificity: float | None
    ) -> None:
        got = evaluate_label(truth, [0.2, 0.5, 0.7], ["a", "b", "c"], 0.5, 50, 0)
        for name, value in (("accuracy", accuracy), ("sensitivity", sensitivity), ("specificity", specificity)):
            assert got[name]["value"] == (None if value is None else pytest.approx(value))

    def test_evaluate_label_too_few_patients_has_no_auroc(self) -> None:
        truth, scores = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], [0.1, 0.2, 0.7, 0.5, 0.6, 0.8]
        patients = ["a", "b", "c", "d", "d", "e"]  # three positive images from two patients
        by_minimum = {n: evaluate_label(truth, scores, patients, 0.4, 100, 0, min_patients=n) for n in (2, 3)}
        assert by_minimum[2]["estimable"] is True
        for name in ("auroc", "auroc_delong"):
            assert by_minimum[2][name]["value"] == pytest.approx(7 / 9)
        assert by_minimum[3]["estimable"] is False
        for name in ("auroc", "auroc_delong", "average_precision"):
            assert by_minimum[3][name] == {"value": None, "low": None, "high": None}
        assert (by_minimum[3]["sensitivity"], by_minimum[3]["confusion"]) == (
            by_minimum[2]["sensitivity"],
            [[2, 1], [0, 3]],
        )

    def test_evaluate_predictions_too_few_patients_is_excluded_from_mean(self) -> None:
        predictions = frame(
            ["a", "b", "c", "d"],
            sound=([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]),
            rare=([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]),
        )
        got = evaluate_predictions(predictions, ["sound", "rare"], {"sound": 0.375, "rare": 0.5}, 0, 0, 2)
        assert got["mean"]["labels"] == ["sound"]
        for name in ("auroc", "sensitivity", "specificity", "ppv", "npv", "f1", "brier"):
            assert got["mean"][name] == got["labels"]["sound"][name]

    def test_evaluate_label_one_class_keeps_counts(self) -> None:
        got = evaluate_label([0.0, 0.0, UNKNOWN], [0.2, 0.7, 0.7], ["a", "b", "c"], 0.5, 50, 0)
        assert (got["n_images"], got["n_patients"], got["positives"]) == (2, 2, 0)
        assert (got["confusion"], got["majority_accuracy"]) == ([[1, 1], [0, 0]], 1.0)

    @pytest.mark.parametrize("only", [0.0, 1.0])
    def test_evaluate_label_one_class_has_no_predictive_values(self, only: float) -> None:
        """Fails if a split without negatives has a PPV of 1 and an NPV of 0 for any model."""
        got = evaluate_label([only] * 4, [0.2, 0.4, 0.6, 0.8], list("abcd"), 0.5, 100, 0)
        for name in ("ppv", "npv", "f1"):
            assert got[name] == {"value": None, "low": None, "high": None}  # type: ignore[literal-required]
        assert got["accuracy"]["value"] == 0.5

    def test_evaluate_predictions_one_class_or_no_threshold_is_excluded_from_mean(self) -> None:
        predictions = frame(
            ["a", "b", "c", "d"],
            sound=([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]),
            perfect=([0, 1, 1, 1], [0.1, 0.4, 0.5, 0.8]),
            empty=([0, 0, 0, 0], [0.1, 0.4, 0.35, 0.8]),
            unchosen=([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]),
        )
        thresholds = {"sound": 0.375, "perfect": 0.2, "empty": 0.5}
        got = evaluate_predictions(predictions, ["sound", "perfect", "empty", "unchosen"], thresholds, 0, 0)
        assert got["mean"]["labels"] == ["sound", "perfect"]
        assert got["mean"]["auroc"]["value"] == 0.875
        assert got["mean"]["accuracy"]["value"] == (0.5 + 1 + 0.75) / 3  # over all labels with a threshold
        assert got["mean"]["majority_accuracy"] == (0.5 + 0.75 + 1) / 3
        assert got["labels"]["unchosen"]["threshold"] is None
        assert got["labels"]["unchosen"]["confusion"] is None

    def test_evaluate_predictions_nothing_estimable_is_valid_json(self) -> None:
        predictions = frame(["a", "a"], empty=([0, 0], [0.1, 0.4]), unknown=([UNKNOWN] * 2, [0.1, 0.4]))
        got = evaluate_predictions(predictions, ["empty", "unknown"], {"empty": 0.5, "unknown": 0.5}, 50, 0)
        assert json.loads(json.dumps(got, allow_nan=False)) == got
        assert got["mean"]["auroc"]["value"] is None
        assert got["mean"]["labels"] == []
        assert got["labels"]["unknown"]["majority_accuracy"] is None


class TestInvalidInput:
    @pytest.mark.parametrize(
        ("truth", "scores", "message"),
        [
            ([0, 2], [0.1, 0.2], "truth must be 0, 1 or NaN for unknown, got 2.0"),
            ([0, 1], [0.1, 1.5], "scores must be between 0 and 1, got 1.5"),
            ([0, 1], [0.1, UNKNOWN], "scores must be between 0 and 1, got nan"),
            ([0, 1, 1], [0.1, 0.2], "vectors of equal length"),
        ],
    )
    def test_evaluate_label_malformed_columns_raises(
        self, truth: list[float], scores: list[float], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            evaluate_label(truth, scores, each_its_own_patient(len(truth)), 0.5, 0, 0)

    def test_evaluate_predictions_missing_column_raises(self) -> None:
        predictions = frame(["a", "b"], sound=([0, 1], [0.1, 0.9]))
        with pytest.raises(ValueError, match=r"lack the columns \['label:Mass', 'score:Mass'\]"):
            evaluate_predictions(predictions, ["sound", "Mass"], {}, 0, 0)

    def test_evaluate_label_missing_patient_raises(self) -> None:
        with pytest.raises(ValueError, match="every image needs a patient_id, got 1 without one"):
            evaluate_label([0, 1], [0.1, 0.2], np.array(["a", None]), 0.5, 0, 0)

    def test_evaluate_label_no_images_raises(self) -> None:
        with pytest.raises(ValueError, match="at least one image, got none"):
            evaluate_label([], [], [], 0.5, 0, 0)
