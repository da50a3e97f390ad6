"""The numbers agree with hand computation and scikit-learn; what cannot be estimated stays without a number."""

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
    def test_worked_example(self) -> None:
        # Of the four pairs (positive, negative), three are in order; precision is 1 at the first positive and
        # 2/3 at the second.
        got = evaluate_label([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], each_its_own_patient(4), 0.375, 0, 0)
        assert got["auroc"] == {"value": 0.75, "low": None, "high": None}
        assert got["average_precision"]["value"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
        assert got["confusion"] == [[1, 1], [1, 1]]
        assert (got["accuracy"]["value"], got["majority_accuracy"]) == (0.5, 0.5)
        assert (got["sensitivity"]["value"], got["specificity"]["value"]) == (0.5, 0.5)
        assert (got["n_images"], got["n_patients"], got["positives"], got["estimable"]) == (4, 4, 2, True)
        assert (got["positive_patients"], got["negative_patients"]) == (2, 2)

    def test_a_tie_earns_half_credit(self) -> None:
        got = evaluate_label([0, 1, 1], [0.5, 0.5, 0.9], each_its_own_patient(3), 0.5, 0, 0)
        assert got["auroc"]["value"] == 0.75
        assert got["average_precision"]["value"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)

    def test_a_score_at_the_threshold_is_called(self) -> None:
        got = evaluate_label([0, 1], [0.3, 0.5], each_its_own_patient(2), 0.5, 0, 0)
        assert got["confusion"] == [[1, 0], [0, 1]]

    @settings(deadline=None)
    @given(scored_images(), st.floats(0, 1))
    def test_agrees_with_scikit_learn(self, images: tuple[list[float], list[float]], threshold: float) -> None:
        truth, scores = images
        got = evaluate_label(truth, scores, each_its_own_patient(len(truth)), threshold, 0, 0)
        called = np.asarray(scores) >= threshold
        assert got["auroc"]["value"] == pytest.approx(reference.roc_auc_score(truth, scores))
        assert got["average_precision"]["value"] == pytest.approx(reference.average_precision_score(truth, scores))
        assert got["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, called))
        assert got["sensitivity"]["value"] == pytest.approx(reference.recall_score(truth, called))
        assert got["specificity"]["value"] == pytest.approx(reference.recall_score(truth, called, pos_label=0))
        assert got["confusion"] == reference.confusion_matrix(truth, called).tolist()
        assert got["f1"]["value"] == pytest.approx(reference.f1_score(truth, called))
        assert got["brier"]["value"] == pytest.approx(reference.brier_score_loss(truth, scores))
        for name, positive in (("ppv", 1), ("npv", 0)):
            value = reference.precision_score(truth, called, pos_label=positive, zero_division=np.nan)
            assert got[name]["value"] == (None if np.isnan(value) else pytest.approx(value))

    def test_images_of_unknown_truth_change_nothing(self) -> None:
        truth, scores = [0.0, 0.0, 1.0, 1.0], [0.1, 0.4, 0.35, 0.8]
        patients = ["a", "b", "c", "d"]
        known = evaluate_label(truth, scores, patients, 0.5, 100, 0)
        padded = evaluate_label(
            [UNKNOWN, *truth, UNKNOWN], [0.99, *scores, UNKNOWN], ["a", *patients, "d"], 0.5, 100, 0
        )
        assert padded == known


class TestNotEstimable:
    @pytest.mark.parametrize("truth", [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [UNKNOWN] * 3, [UNKNOWN, 0.0, 0.0]])
    def test_one_class_gives_no_number(self, truth: list[float]) -> None:
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
    def test_one_class_leaves_what_it_can_tell(
        self, truth: list[float], accuracy: float | None, sensitivity: float | None, specificity: float | None
    ) -> None:
        got = evaluate_label(truth, [0.2, 0.5, 0.7], ["a", "b", "c"], 0.5, 50, 0)
        for name, value in (("accuracy", accuracy), ("sensitivity", sensitivity), ("specificity", specificity)):
            assert got[name]["value"] == (None if value is None else pytest.approx(value))

    def test_too_few_patients_of_a_class_give_no_area(self) -> None:
        truth, scores = [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], [0.1, 0.2, 0.7, 0.5, 0.6, 0.8]
        patients = ["a", "b", "c", "d", "d", "e"]  # three images with the finding, but of two patients
        fewest = {fewest: evaluate_label(truth, scores, patients, 0.4, 100, 0, fewest) for fewest in (2, 3)}
        assert fewest[2]["estimable"] is True
        for name in ("auroc", "auroc_delong"):
            assert fewest[2][name]["value"] == pytest.approx(7 / 9)
        assert fewest[3]["estimable"] is False
        for name in ("auroc", "auroc_delong", "average_precision"):
            assert fewest[3][name] == {"value": None, "low": None, "high": None}
        assert (fewest[3]["sensitivity"], fewest[3]["confusion"]) == (fewest[2]["sensitivity"], [[2, 1], [0, 3]])

    def test_a_label_of_too_few_patients_stays_out_of_the_mean(self) -> None:
        predictions = frame(
            ["a", "b", "c", "d"],
            sound=([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]),
            rare=([0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4]),
        )
        got = evaluate_predictions(predictions, ["sound", "rare"], {"sound": 0.375, "rare": 0.5}, 0, 0, 2)
        assert got["mean"]["labels"] == ["sound"]
        for name in ("auroc", "sensitivity", "specificity", "ppv", "npv", "f1", "brier"):
            assert got["mean"][name] == got["labels"]["sound"][name]

    def test_counts_remain(self) -> None:
        got = evaluate_label([0.0, 0.0, UNKNOWN], [0.2, 0.7, 0.7], ["a", "b", "c"], 0.5, 50, 0)
        assert (got["n_images"], got["n_patients"], got["positives"]) == (2, 2, 0)
        assert (got["confusion"], got["majority_accuracy"]) == ([[1, 1], [0, 0]], 1.0)

    @pytest.mark.parametrize("only", [0.0, 1.0])
    def test_one_class_alone_gives_no_predictive_values(self, only: float) -> None:
        """Fails where a split without negatives has a PPV of 1 and an NPV of 0, whatever the model says."""
        got = evaluate_label([only] * 4, [0.2, 0.4, 0.6, 0.8], list("abcd"), 0.5, 100, 0)
        for name in ("ppv", "npv", "f1"):
            assert got[name] == {"value": None, "low": None, "high": None}  # type: ignore[literal-required]
        assert got["accuracy"]["value"] == 0.5

    def test_such_a_label_stays_out_of_the_mean(self) -> None:
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
        assert got["mean"]["accuracy"]["value"] == (0.5 + 1 + 0.75) / 3  # over all with a threshold
        assert got["mean"]["majority_accuracy"] == (0.5 + 0.75 + 1) / 3
        assert got["labels"]["unchosen"]["threshold"] is None
        assert got["labels"]["unchosen"]["confusion"] is None

    def test_the_result_is_json_even_when_nothing_is_estimable(self) -> None:
        predictions = frame(["a", "a"], empty=([0, 0], [0.1, 0.4]), unknown=([UNKNOWN] * 2, [0.1, 0.4]))
        got = evaluate_predictions(predictions, ["empty", "unknown"], {"empty": 0.5, "unknown": 0.5}, 50, 0)
        assert json.loads(json.dumps(got, allow_nan=False)) == got
        assert got["mean"]["auroc"]["value"] is None
        assert got["mean"]["labels"] == []
        assert got["labels"]["unknown"]["majority_accuracy"] is None


class TestRefusals:
    @pytest.mark.parametrize(
        ("truth", "scores", "message"),
        [
            ([0, 2], [0.1, 0.2], "truth must be 0, 1 or NaN for unknown, got 2.0"),
            ([0, 1], [0.1, 1.5], "scores must lie between 0 and 1, got 1.5"),
            ([0, 1], [0.1, UNKNOWN], "scores must lie between 0 and 1, got nan"),
            ([0, 1, 1], [0.1, 0.2], "columns of one length"),
        ],
    )
    def test_malformed_columns(self, truth: list[float], scores: list[float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            evaluate_label(truth, scores, each_its_own_patient(len(truth)), 0.5, 0, 0)

    def test_a_missing_column_is_named(self) -> None:
        predictions = frame(["a", "b"], sound=([0, 1], [0.1, 0.9]))
        with pytest.raises(ValueError, match=r"lack the columns \['label:Mass', 'score:Mass'\]"):
            evaluate_predictions(predictions, ["sound", "Mass"], {}, 0, 0)

    def test_per_image_without_patient(self) -> None:
        with pytest.raises(ValueError, match="every image needs a patient_id, got 1 without one"):
            evaluate_label([0, 1], [0.1, 0.2], np.array(["a", None]), 0.5, 0, 0)

    def test_no_image(self) -> None:
        with pytest.raises(ValueError, match="at least one image, got none"):
            evaluate_label([], [], [], 0.5, 0, 0)
