"""Metrics of exclusive classes against hand computation and scikit-learn, and their intervals."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference  # type: ignore[import-untyped]

from radiograft.metrics.multiclass import ExclusiveClasses, evaluate_classes, read_classes
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.result_types import ClassMetrics
from tests.helpers.samples import UNKNOWN, class_frame, each_its_own_patient

NAMES = ("nv", "mel", "bcc")
TRUTH = [0, 0, 0, 0, 1, 1, 2, 2]
SCORES = [
    *([0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.5, 0.25, 0.25], [0.2, 0.7, 0.1]),
    *([0.1, 0.8, 0.1], [0.6, 0.2, 0.2]),
    *([0.1, 0.3, 0.6], [0.4, 0.4, 0.2]),
]


def evaluate(
    truth: Sequence[int], scores: Sequence[Sequence[float]], samples: int = 0, ordered: bool = True, **options: int
) -> ClassMetrics:
    patients = each_its_own_patient(len(truth))
    return evaluate_classes(truth, scores, patients, NAMES, ExclusiveClasses("nv", ordered), samples, 0, **options)


def drawn(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns truth and scores of three classes, of which the first is the most frequent."""
    generator = np.random.default_rng(seed)
    truth = generator.choice(3, images, p=[0.6, 0.3, 0.1])
    logits = generator.normal(size=(images, 3)) + 1.5 * np.eye(3)[truth]
    exponentials = np.exp(logits)
    return truth, exponentials / exponentials.sum(axis=1, keepdims=True)


class TestPointValues:
    def test_evaluate_classes_worked_example(self) -> None:
        # Three of four nv, one of two mel and one of two bcc are correct; of the equal scores, the first class counts.
        got = evaluate(TRUTH, SCORES)
        assert got["confusion"] == [[3, 1, 0], [1, 1, 0], [1, 0, 1]]
        assert got["accuracy"] == {"value": 5 / 8, "low": None, "high": None}
        assert got["balanced_accuracy"]["value"] == pytest.approx((3 / 4 + 1 / 2 + 1 / 2) / 3)
        assert (got["majority_class"], got["majority_accuracy"]["value"]) == ("nv", 0.5)
        assert [[cell["value"] for cell in row] for row in got["shares"]] == [
            [0.75, 0.25, 0],
            [0.5, 0.5, 0],
            [0.5, 0, 0.5],
        ]
        # Distances of 1 count 1/4: two of them and one of 4/4. Marginals: truth 4, 2, 2; prediction 5, 2, 1.
        expected = (4 * (2 / 4 + 1) + 2 * (5 / 4 + 1 / 4) + 2 * (5 + 2 / 4)) / 64
        assert got["kappa"] is not None
        assert got["kappa"]["value"] == pytest.approx(1 - ((2 / 4 + 1) / 8) / expected)
        assert (got["n_images"], got["n_patients"]) == (8, 8)

    def test_evaluate_classes_majority_of_training_counts_not_of_split(self) -> None:
        got = evaluate([1, 1, 1, 0], [[0.2, 0.7, 0.1]] * 4)
        assert (got["accuracy"]["value"], got["majority_accuracy"]["value"]) == (0.75, 0.25)

    def test_evaluate_classes_without_order_has_no_kappa(self) -> None:
        assert evaluate(TRUTH, SCORES, ordered=False)["kappa"] is None

    def test_evaluate_classes_unknown_class_is_left_out(self) -> None:
        known = evaluate(TRUTH, SCORES)
        assert evaluate([*TRUTH, -1], [*SCORES, [0.1, 0.8, 0.1]]) == known

    def test_evaluate_classes_absent_class_has_no_shares(self) -> None:
        got = evaluate([0, 0, 1], SCORES[:3])
        assert got["shares"][2] == [{"value": None, "low": None, "high": None}] * 3
        assert got["balanced_accuracy"]["value"] == 0.5

    @pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
    @settings(deadline=None)
    @given(st.integers(0, 1000), st.integers(3, 60))
    def test_evaluate_classes_matches_scikit_learn(self, seed: int, images: int) -> None:
        truth, scores = drawn(images, seed)
        truth[:3] = [0, 1, 2]  # AUROCs need every class
        predicted = scores.argmax(axis=1)
        got = evaluate(truth, scores)
        assert got["kappa"] is not None
        assert got["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, predicted))
        assert got["balanced_accuracy"]["value"] == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
        kappa = reference.cohen_kappa_score(truth, predicted, weights="quadratic")
        assert got["kappa"]["value"] == pytest.approx(kappa)
        assert got["log_loss"]["value"] == pytest.approx(reference.log_loss(truth, scores))
        assert got["brier"]["value"] == pytest.approx(((scores - np.eye(3)[truth]) ** 2).sum(axis=1).mean())
        assert got["confusion"] == reference.confusion_matrix(truth, predicted).tolist()
        split = evaluate_predictions(class_frame(NAMES, truth, scores), NAMES, {}, 0, 0, 1, ExclusiveClasses("nv"))
        assert split["mean"]["auroc"]["value"] == pytest.approx(
            reference.roc_auc_score(truth, scores, multi_class="ovr", average="macro")
        )

    @settings(deadline=None)
    @given(st.integers(0, 100), st.permutations(range(3)))
    def test_evaluate_classes_renamed_classes_change_nothing(self, seed: int, order: list[int]) -> None:
        truth, scores = drawn(40, seed)
        places = np.argsort(order)  # where each class moves
        names = [NAMES[index] for index in order]
        classes = ExclusiveClasses("nv")
        patients = [str(number // 2) for number in range(40)]
        one = evaluate_classes(truth, scores, patients, NAMES, classes, 50, 0)
        other = evaluate_classes(places[truth], scores[:, order], patients, names, classes, 50, 0)
        for name in ("accuracy", "majority_accuracy", "balanced_accuracy", "brier", "log_loss"):
            assert other[name] == pytest.approx(one[name])  # type: ignore[literal-required]
        assert np.array(other["confusion"]).tolist() == np.array(one["confusion"])[order][:, order].tolist()

    def test_evaluate_classes_reversed_order_keeps_kappa(self) -> None:
        reversed_scores = [row[::-1] for row in SCORES[:-1]]  # without the image with equal scores
        one, other = evaluate(TRUTH[:-1], SCORES[:-1]), evaluate([2 - index for index in TRUTH[:-1]], reversed_scores)
        assert one["kappa"] is not None
        assert one["kappa"] == pytest.approx(other["kappa"])


class TestIntervals:
    def test_evaluate_classes_intervals_resample_patients(self) -> None:
        """Ten equal images of each patient are no more evidence than one."""
        truth, scores = drawn(60)
        classes, patients = ExclusiveClasses("nv", ordered=True), [f"{number:02d}" for number in range(60)]
        one = evaluate_classes(truth, scores, patients, NAMES, classes, 200, 0)
        ten = evaluate_classes(
            np.repeat(truth, 10), np.repeat(scores, 10, axis=0), np.repeat(patients, 10), NAMES, classes, 200, 0
        )
        for name in ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa", "brier", "log_loss"):
            assert one[name] == pytest.approx(ten[name])  # type: ignore[literal-required]
            assert one[name]["low"] < one[name]["value"] < one[name]["high"]  # type: ignore[literal-required]
        assert (one["n_patients"], ten["n_patients"], ten["n_images"]) == (60, 60, 600)
        assert one["shares"][0] == pytest.approx(ten["shares"][0])

    def test_evaluate_classes_interval_covers_true_accuracy(self) -> None:
        """Of 200 intervals with 80 images each, about 95% hold the accuracy that 200,000 images have."""
        truth, scores = drawn(200_000, seed=1)
        accuracy = float((scores.argmax(axis=1) == truth).mean())
        intervals = [evaluate(*drawn(80, seed), samples=200)["accuracy"] for seed in range(200)]  # type: ignore[arg-type]
        covered = np.mean([(each["low"] or 0) <= accuracy <= (each["high"] or 1) for each in intervals])
        assert 0.9 <= covered <= 0.99

    def test_evaluate_classes_perfect_result_has_exact_intervals(self) -> None:
        truth = [0] * 10 + [1] * 10 + [2] * 10
        got = evaluate(truth, np.eye(3)[truth].tolist(), samples=100)
        low = 0.025 ** (1 / 30)  # Clopper and Pearson's lower limit for 30 of 30
        assert got["accuracy"] == {"value": 1.0, "low": pytest.approx(low), "high": 1.0, "method": "Clopper-Pearson"}
        of_ten = 0.025 ** (1 / 10)
        assert got["balanced_accuracy"]["low"] == pytest.approx(of_ten)
        assert got["shares"][0][0]["low"] == pytest.approx(of_ten)
        assert got["shares"][0][1] == {
            "value": 0.0, "low": 0.0, "high": pytest.approx(1 - of_ten), "method": "Clopper-Pearson",
        }  # fmt: skip
        assert got["kappa"] is not None
        # Expected disagreement of three classes of equal size: (4 * 1/4 + 2 * 1) / 9.
        assert got["kappa"]["low"] == pytest.approx(1 - (1 - low) / (1 / 3))
        assert got["brier"]["high"] == pytest.approx(2 * (1 - low))
        assert got["log_loss"]["low"] == pytest.approx(0.0, abs=1e-12)

    def test_evaluate_classes_rare_class_has_exact_shares(self) -> None:
        """With two patients, resampling gives 0 to 1 for a half; Clopper and Pearson give 0.013 to 0.987."""
        got = evaluate(TRUTH, SCORES, samples=200, min_patients=3)
        assert got["shares"][1][1]["low"] == pytest.approx(0.0126, abs=1e-4)
        assert got["shares"][1][1]["method"] == "Clopper-Pearson"
        assert "method" not in got["shares"][0][0]

    def test_evaluate_classes_single_patient_has_no_interval(self) -> None:
        got = evaluate_classes(TRUTH, SCORES, ["a"] * 8, NAMES, ExclusiveClasses("nv"), 100, 0)
        assert got["accuracy"] == {"value": 5 / 8, "low": None, "high": None}


class TestInvalid:
    @pytest.mark.parametrize(
        ("truth", "scores", "message"),
        [
            ([3], [[1.0, 0.0, 0.0]], "index of 3 classes, or -1 for unknown, got 3"),
            ([0], [[0.9, 0.9, 0.9]], r"add up to 1, got \[0.9, 0.9, 0.9\]"),
            ([0], [[np.nan, 0.5, 0.5]], "add up to 1"),
            ([0], [[0.5, 0.5]], r"scores \(n, 3\), got \(1,\) and \(1, 2\)"),
        ],
    )
    def test_evaluate_classes_invalid_input_raises(
        self, truth: list[int], scores: list[list[float]], message: str
    ) -> None:
        with pytest.raises(ValueError, match=message):
            evaluate(truth, scores)

    def test_evaluate_classes_unknown_majority_raises(self) -> None:
        with pytest.raises(ValueError, match="with 'akiec', got"):
            evaluate_classes([0], SCORES[:1], ["a"], NAMES, ExclusiveClasses("akiec"), 0, 0)

    @pytest.mark.parametrize("row", [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, UNKNOWN, 0.0], [0.5, 0.5, 0.0]])
    def test_read_classes_not_one_hot_raises(self, row: list[float]) -> None:
        predictions = class_frame(NAMES, [0], SCORES[:1])
        predictions[[f"label:{name}" for name in NAMES]] = [row]
        with pytest.raises(ValueError, match="must be 1 for one class and 0 for the others"):
            read_classes(predictions, NAMES)


class TestSplit:
    def test_evaluate_predictions_classes_are_decided_by_highest_score(self) -> None:
        found = evaluate_predictions(class_frame(NAMES, TRUTH, SCORES), NAMES, {}, 100, 0, 1, ExclusiveClasses("nv"))
        nv, mel = found["labels"]["nv"], found["labels"]["mel"]
        assert nv["confusion"] == [[2, 2], [1, 3]]
        assert (nv["threshold"], nv["estimable"]) == (None, True)
        assert (nv["sensitivity"]["value"], nv["specificity"]["value"], nv["ppv"]["value"]) == (0.75, 0.5, 0.6)
        assert mel["sensitivity"]["value"] == 0.5  # none of its scores of 0.2 and 0.8 was compared with a threshold
        assert found["classes"]["accuracy"]["value"] == 5 / 8
        assert found["mean"]["labels"] == list(NAMES)
        json.dumps(found, allow_nan=False)

    def test_evaluate_predictions_classes_equal_evaluate_classes(self) -> None:
        truth, scores = drawn(50)
        classes = ExclusiveClasses("nv", ordered=True)
        alone = evaluate_classes(truth, scores, each_its_own_patient(50), NAMES, classes, 100, 7, 5)
        split = evaluate_predictions(class_frame(NAMES, truth, scores), NAMES, {}, 100, 7, 5, classes)
        assert split["classes"] == alone

    def test_evaluate_predictions_unknown_class_is_left_out(self) -> None:
        frame = class_frame(NAMES, [*TRUTH, -1], [*SCORES, [0.2, 0.3, 0.5]])
        found = evaluate_predictions(frame, NAMES, {}, 0, 0, 1, ExclusiveClasses("nv"))
        assert (found["n_images"], found["classes"]["n_images"], found["labels"]["nv"]["n_images"]) == (9, 8, 8)

    def test_evaluate_predictions_labels_that_are_not_exclusive_have_no_classes(self) -> None:
        thresholds = dict.fromkeys(NAMES, 0.5)
        assert "classes" not in evaluate_predictions(class_frame(NAMES, TRUTH, SCORES), NAMES, thresholds, 0, 0)
