"""The loss and the validation metrics: equal to Keras and scikit-learn on known labels, blind to unknown ones."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from radiograft.training.tasks.multilabel import (
    MaskedCrossEntropy,
    class_weights,
    masked_accuracy,
    mean_auroc,
    validation_metrics,
)

NAN = float("nan")
shapes = st.tuples(st.integers(1, 6), st.integers(1, 4))


@st.composite
def examples(draw: st.DrawFn, known: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draws truth and probabilities, float32 [images, labels]."""
    shape = draw(shapes)
    values = st.sampled_from([0.0, 1.0] if known else [0.0, 1.0, NAN])
    truth = draw(arrays.arrays("float32", shape, elements=values))
    return truth, draw(arrays.arrays("float32", shape, elements=st.floats(0.015625, 0.984375, width=32)))


def plain(labels: int, smoothing: float = 0.0) -> MaskedCrossEntropy:
    return MaskedCrossEntropy(np.ones((2, labels)), smoothing)


def compute(loss: keras.losses.Loss, truth: object, scores: object) -> float:
    return float(loss(np.asarray(truth, "float32"), np.asarray(scores, "float32")))


class TestCrossEntropy:
    @settings(max_examples=30, deadline=None)
    @given(example=examples(known=True), smoothing=st.sampled_from([0.0, 0.1, 0.5]))
    def test_call_known_labels_matches_keras(self, example: tuple[np.ndarray, np.ndarray], smoothing: float) -> None:
        truth, scores = example
        expected = compute(keras.losses.BinaryCrossentropy(label_smoothing=smoothing), truth, scores)
        assert compute(plain(truth.shape[1], smoothing), truth, scores) == pytest.approx(expected, rel=1e-5, abs=1e-6)

    def test_call_one_label_matches_scikit_learn(self) -> None:
        truth, scores = [1, 0, 0, 1], [0.9, 0.2, 0.6, 0.4]
        expected = log_loss(truth, scores)
        assert compute(plain(1), np.array(truth)[:, None], np.array(scores)[:, None]) == pytest.approx(
            expected, abs=1e-6
        )

    @settings(max_examples=30, deadline=None)
    @given(example=examples(known=False))
    def test_call_averages_known_labels_of_each_image(self, example: tuple[np.ndarray, np.ndarray]) -> None:
        truth, scores = example
        entropies = [
            log_loss(row[~np.isnan(row)], predicted[~np.isnan(row)].astype("float64"), labels=[0, 1])
            if not np.isnan(row).all()
            else 0.0
            for row, predicted in zip(truth, scores, strict=True)
        ]
        assert compute(plain(truth.shape[1]), truth, scores) == pytest.approx(np.mean(entropies), rel=1e-5, abs=1e-6)

    def test_call_unknown_label_has_no_gradient(self) -> None:
        scores = tf.Variable([[0.3, 0.6], [0.2, 0.9], [0.5, 0.5]])
        with tf.GradientTape() as tape:
            loss = plain(2)(tf.constant([[NAN, 1.0], [0.0, NAN], [NAN, NAN]]), scores)
        gradient = tape.gradient(loss, scores).numpy()
        np.testing.assert_allclose(gradient, [[0, -1 / 0.6 / 3], [1 / 0.8 / 3, 0], [0, 0]], rtol=1e-5)

    @settings(max_examples=30, deadline=None)
    @given(
        votes=arrays.arrays(
            "float32", st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=st.sampled_from([0, 1])
        ),
        weights=arrays.arrays("float32", (2, 4), elements=st.floats(0.125, 1, width=32)),
        smoothing=st.sampled_from([0.0, 0.1]),
    )
    def test_call_soft_label_has_mean_loss_and_gradient_of_its_votes(
        self, votes: np.ndarray, weights: np.ndarray, smoothing: float
    ) -> None:
        loss = MaskedCrossEntropy(weights[:, : votes.shape[1]], smoothing)
        scores = np.linspace(0.2, 0.7, votes.shape[1], dtype="float32")[None]

        def measure(truth: np.ndarray) -> tuple[float, np.ndarray]:
            predicted = tf.Variable(scores)
            with tf.GradientTape() as tape:
                value = loss(tf.constant(truth), tf.repeat(predicted, len(truth), axis=0))
            return float(value), tf.convert_to_tensor(tape.gradient(value, predicted)).numpy()

        (one, gradient), (many, gradients) = measure(votes.mean(axis=0, keepdims=True)), measure(votes)
        assert one == pytest.approx(many, rel=1e-5)
        np.testing.assert_allclose(gradient, gradients, rtol=1e-4, atol=1e-5)

    def test_call_soft_label_is_cross_entropy_with_the_share(self) -> None:
        assert compute(plain(1), [[2 / 3]], [[0.25]]) == pytest.approx(-(2 * np.log(0.25) + np.log(0.75)) / 3)
        assert class_weights(np.array([[2 / 3], [0.0], [NAN]]), balanced=True).ravel() == pytest.approx([1 / 3, 2 / 3])

    def test_worst_soft_label_is_the_larger_loss_of_the_two_certain_scores(self) -> None:
        loss = MaskedCrossEntropy(np.array([[0.9], [0.1]]), 0.0)
        truth = np.array([[0.6], [1.0], [0.0], [NAN]], "float32")
        certain = [np.asarray(loss.call(truth, np.full((4, 1), score, "float32"))) for score in (0.0, 1.0)]
        np.testing.assert_allclose(np.asarray(loss.worst(truth, truth)), np.max(certain, axis=0), rtol=1e-6)

    def test_call_with_smoothing_penalizes_certainty(self) -> None:
        even = compute(plain(1, smoothing=0.5), [[1.0], [0.0]], [[0.75], [0.25]])
        for confidence in (0.7, 0.8, 0.999):
            assert compute(plain(1, smoothing=0.5), [[1.0], [0.0]], [[confidence], [1 - confidence]]) > even

    def test_call_certain_wrong_prediction_is_finite(self) -> None:
        assert compute(plain(1), [[1.0], [0.0]], [[0.0], [1.0]]) == pytest.approx(-np.log(1e-7), rel=0.02)  # in float32

    def test_call_applies_weights_of_both_classes(self) -> None:
        weighted = MaskedCrossEntropy(np.array([[0.25, 1.0], [0.75, 2.0]]), 0.0)
        entropies = -np.log([[0.9, 0.8], [0.4, 0.7]])
        value = compute(weighted, [[1, 0], [0, 1]], [[0.9, 0.2], [0.6, 0.7]])
        assert value == pytest.approx((entropies * [[0.75, 1.0], [0.25, 2.0]]).mean(), rel=1e-5)


class TestClassWeights:
    TRUTH = np.array([[1, 0], [0, 0], [0, NAN], [0, 1]], dtype="float32")

    def test_class_weights_balanced_follow_chexnet(self) -> None:
        """P / (P + N) for absent and N / (P + N) for present labels, counted over images with a known label."""
        weights = class_weights(self.TRUTH, balanced=True)
        np.testing.assert_allclose(weights, [[1 / 4, 1 / 3], [3 / 4, 2 / 3]])
        assert weights.dtype == np.float32

    def test_class_weights_balanced_give_both_classes_equal_sum(self) -> None:
        weights = class_weights(self.TRUTH, balanced=True)
        present, absent = (self.TRUTH == 1).sum(axis=0), (self.TRUTH == 0).sum(axis=0)
        np.testing.assert_allclose(present * weights[1], absent * weights[0])

    def test_class_weights_unbalanced_are_one(self) -> None:
        np.testing.assert_array_equal(class_weights(self.TRUTH, balanced=False), np.ones((2, 2)))


def test_masked_accuracy_uses_known_labels_only() -> None:
    truth = np.array([[1, 0, NAN], [NAN, 1, 0], [NAN, NAN, NAN]], dtype="float32")
    scores = np.array([[0.6, 0.4, 0.9], [0.1, 0.5, 0.3], [0.1, 0.2, 0.3]], dtype="float32")
    np.testing.assert_allclose(masked_accuracy(truth, scores), [1.0, 0.5, 1.0])


class TestValidationMetrics:
    TRUTH = np.array([[1, 0, NAN], [0, NAN, 0], [NAN, 0, 1], [1, 1, 0], [0, 1, 1]], dtype="float32")
    SCORES = np.array(
        [[0.8, 0.3, 0.9], [0.6, 0.2, 0.4], [0.1, 0.7, 0.3], [0.7, 0.6, 0.2], [0.75, 0.9, 0.8]], dtype="float32"
    )

    def test_validation_metrics_match_scikit_learn_on_known_labels(self) -> None:
        metrics = validation_metrics(self.TRUTH, self.SCORES)
        known = ~np.isnan(self.TRUTH)
        truth, scores = self.TRUTH[known], self.SCORES[known].astype("float64")
        assert metrics["val_loss"] == pytest.approx(log_loss(truth, scores), abs=1e-9)
        assert metrics["val_accuracy"] == accuracy_score(truth, scores > 0.5)
        aurocs = [roc_auc_score(self.TRUTH[k, i], self.SCORES[k, i]) for i, k in enumerate(known.T)]
        assert metrics["val_auroc"] == pytest.approx(np.mean(aurocs))
        assert set(metrics) == {"val_loss", "val_auroc", "val_accuracy"}

    def test_mean_auroc_ignores_label_of_one_class(self) -> None:
        truth = self.TRUTH.copy()
        truth[:, 1] = [0, NAN, 0, 0, NAN]
        assert mean_auroc(truth, self.SCORES) == mean_auroc(truth[:, [0, 2]], self.SCORES[:, [0, 2]])

    def test_validation_metrics_without_both_classes_raises(self) -> None:
        with pytest.raises(ValueError, match="validation must hold images with and without a finding"):
            validation_metrics(np.array([[1, NAN], [1, 0]], dtype="float32"), np.full((2, 2), 0.5))


def test_validation_metrics_soft_labels_give_loss_at_the_share_and_scores_of_their_class() -> None:
    """A tie has no class: it counts in the loss only."""
    truth = np.array([[2 / 3], [1 / 3], [0.5], [1.0], [0.0], [NAN]], "float32")
    scores = np.array([[0.8], [0.6], [0.99], [0.4], [0.3], [0.7]], "float32")
    share, predicted = truth[:5, 0].astype("float64"), scores[:5, 0].astype("float64")
    expected = -(share * np.log(predicted) + (1 - share) * np.log(1 - predicted)).mean()
    metrics = validation_metrics(truth, scores)
    assert metrics == {
        "val_loss": pytest.approx(expected),
        "val_auroc": 0.75,  # positives 0.8 and 0.4, negatives 0.6 and 0.3
        "val_accuracy": 0.5,
    }
    assert np.asarray(masked_accuracy(truth, scores)).tolist() == [1, 0, 1, 0, 1, 1]
