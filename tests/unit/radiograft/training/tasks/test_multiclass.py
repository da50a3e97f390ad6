"""The multiclass task: its loss equals Keras's and values by hand, and unknown classes do not count."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight

from radiograft.config.data import TASKS
from radiograft.config.training import Recipe
from radiograft.models.heads import build_classifier
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import data_from_activations
from radiograft.training.history import History
from radiograft.training.tasks.multiclass import (
    MaskedCategoricalCrossEntropy,
    MulticlassTask,
    class_weights,
    masked_accuracy,
    validation_metrics,
)
from radiograft.training.tasks.registry import get_task
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train

NAN = float("nan")
UNKNOWN = [NAN, NAN, NAN]
smoothings = st.sampled_from([0.0, 0.1, 0.5])


@st.composite
def examples(draw: st.DrawFn, unknown: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Draws one-hot classes and probabilities, float32 [images, classes]."""
    images, classes = draw(st.integers(1, 6)), draw(st.integers(2, 5))
    numbers = draw(st.lists(st.integers(-1 if unknown else 0, classes - 1), min_size=images, max_size=images))
    truth = np.eye(classes, dtype="float32")[numbers]
    truth[np.array(numbers) < 0] = NAN
    logits = draw(st.lists(st.floats(-4, 4, width=32), min_size=images * classes, max_size=images * classes))
    return truth, keras.ops.convert_to_numpy(keras.ops.softmax(np.float32(logits).reshape(images, classes)))


def plain(classes: int, smoothing: float = 0.0) -> MaskedCategoricalCrossEntropy:
    return MaskedCategoricalCrossEntropy(np.ones(classes), smoothing)


def per_image(loss: MaskedCategoricalCrossEntropy, truth: object, scores: object) -> np.ndarray:
    return np.asarray(loss.call(np.asarray(truth, "float32"), np.asarray(scores, "float32")))


def test_call_values_by_hand() -> None:
    """Weights 2, 1 and 4, smoothing 0.3: targets are 0.8 for the class and 0.1 for the others."""
    loss = MaskedCategoricalCrossEntropy(np.array([2.0, 1.0, 4.0]), 0.3)
    values = per_image(loss, [[1, 0, 0], [0, 0, 1], UNKNOWN], [[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    first = -2 * (0.8 * math.log(0.5) + 0.2 * math.log(0.25))
    second = -4 * (0.9 * math.log(0.1) + 0.1 * math.log(0.8))
    np.testing.assert_allclose(values, [first, second, 0.0], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(example=examples(unknown=False), smoothing=smoothings)
def test_call_known_classes_matches_keras(example: tuple[np.ndarray, np.ndarray], smoothing: float) -> None:
    truth, scores = example
    expected = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing, reduction=None)(truth, scores)
    np.testing.assert_allclose(
        per_image(plain(truth.shape[1], smoothing), truth, scores), expected, rtol=1e-4, atol=1e-5
    )


@settings(max_examples=30, deadline=None)
@given(example=examples(), smoothing=smoothings, data=st.data())
def test_task_permuted_classes_give_permuted_result(
    example: tuple[np.ndarray, np.ndarray], smoothing: float, data: st.DataObject
) -> None:
    truth, scores = example
    order = data.draw(st.permutations(range(truth.shape[1])))
    weights = class_weights(truth, balanced=True)
    np.testing.assert_array_equal(class_weights(truth[:, order], balanced=True), weights[order])
    loss = MaskedCategoricalCrossEntropy(weights, smoothing)
    permuted = MaskedCategoricalCrossEntropy(weights[order], smoothing)
    np.testing.assert_allclose(
        per_image(permuted, truth[:, order], scores[:, order]), per_image(loss, truth, scores), rtol=1e-5, atol=1e-6
    )


@settings(max_examples=30, deadline=None)
@given(example=examples(), smoothing=smoothings)
def test_worst_is_never_exceeded(example: tuple[np.ndarray, np.ndarray], smoothing: float) -> None:
    truth, scores = example
    loss = plain(truth.shape[1], smoothing)
    worst = np.asarray(loss.worst(truth, scores))
    corners = np.stack([per_image(loss, truth, np.broadcast_to(row, truth.shape)) for row in np.eye(truth.shape[1])])
    np.testing.assert_allclose(worst, corners.max(axis=0), rtol=1e-6)
    assert (per_image(loss, truth, scores) <= worst + 1e-6).all()


def test_call_unknown_class_has_no_gradient() -> None:
    scores = tf.Variable([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])
    with tf.GradientTape() as tape:
        loss = plain(3)(tf.constant([[0.0, 1.0, 0.0], UNKNOWN]), scores)
    np.testing.assert_allclose(tape.gradient(loss, scores), [[0, -1 / 0.3 / 2, 0], [0, 0, 0]], rtol=1e-5)


def test_class_weights_balanced_match_scikit_learn() -> None:
    numbers = [0, 0, 0, 0, 1, 1, 2]
    truth = np.vstack([np.eye(3, dtype="float32")[numbers], np.float32([UNKNOWN])])
    weights = class_weights(truth, balanced=True)
    np.testing.assert_allclose(weights, [7 / 12, 7 / 6, 7 / 3], rtol=1e-6)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=np.array(numbers))
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    np.testing.assert_array_equal(class_weights(truth, balanced=False), [1, 1, 1])


def test_masked_accuracy_compares_highest_score() -> None:
    truth = np.float32([[1, 0, 0], [0, 0, 1], UNKNOWN])
    scores = np.float32([[0.4, 0.3, 0.3], [0.4, 0.35, 0.25], [0.1, 0.2, 0.7]])
    np.testing.assert_array_equal(masked_accuracy(truth, scores), [1.0, 0.0, 1.0])


class TestValidationMetrics:
    CLASSES = np.array([0, 1, 2, 1, 0, 2])
    SCORES = np.float32(
        [[0.7, 0.2, 0.1], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1], [0.3, 0.6, 0.1], [0.3, 0.3, 0.4]]
    )

    def test_validation_metrics_match_scikit_learn(self) -> None:
        truth = np.eye(3, dtype="float32")[self.CLASSES]
        scores = self.SCORES.astype("float64")
        scores /= scores.sum(axis=1, keepdims=True)
        metrics = validation_metrics(np.vstack([truth, np.float32([UNKNOWN])]), np.vstack([scores, [[0.9, 0.1, 0]]]))
        assert metrics["val_loss"] == pytest.approx(log_loss(self.CLASSES, scores))
        assert metrics["val_auroc"] == pytest.approx(roc_auc_score(self.CLASSES, scores, multi_class="ovr"))
        assert metrics["val_accuracy"] == accuracy_score(self.CLASSES, scores.argmax(axis=1)) == 4 / 6
        assert set(metrics) == {"val_loss", "val_auroc", "val_accuracy"}

    def test_validation_metrics_of_one_class_raises(self) -> None:
        with pytest.raises(ValueError, match="no label has both classes"):
            validation_metrics(np.eye(3)[[1, 1, 1]], self.SCORES[:3])


def test_get_task_softmax_only_for_multiclass() -> None:
    assert get_task("multiclass", ["a", "b", "c"]) == MulticlassTask(3)
    assert [get_task(name, ["a"]).activation for name in ("binary", "multilabel")] == ["sigmoid", "sigmoid"]


def test_get_task_knows_every_task_of_the_settings() -> None:
    monitored = {name: get_task(name, ["a", "b"]).monitor.metric for name in TASKS}
    assert monitored == {
        "multilabel": "val_auroc", "multiclass": "val_auroc", "binary": "val_auroc", "regression": "val_r2",
    }  # fmt: skip


def test_task_chance_loss_is_that_of_equal_scores() -> None:
    task = get_task("multiclass", list("abcde"))
    metrics = task.evaluate(np.eye(5), np.full((5, 5), 0.2))
    assert task.chance_loss == pytest.approx(math.log(5)) == pytest.approx(metrics["val_loss"])
    assert task.format(metrics) == "validation AUROC 0.5000, accuracy 0.2000, loss 1.6094"
    assert task.loss(np.eye(5), Recipe(label_smoothing=0.1)).smoothing == 0.1


def features(images: int, seed: int) -> CachedActivations:
    """Six features and the class of the highest of the first three."""
    values = np.random.default_rng(seed).normal(size=(images, 6)).astype("float16")
    truth = np.eye(3, dtype="float32")[values[:, :3].argmax(axis=1)]
    return CachedActivations([values[None]], truth, [f"image-{number}" for number in range(images)])


def fit(training: CachedActivations, folder: Path, rate: float, kernel: np.ndarray | None = None) -> History:
    keras.utils.set_random_seed(0)
    model = build_classifier(6, 3, dense_units=0, dropout=0.0, l2=0.0, seed=0, activation="softmax")
    if kernel is not None:
        model.set_weights([kernel, np.zeros(3)])
    task = get_task("multiclass", list("abc"))
    config = TrainConfig("a test", "adam", rate, Recipe(loss_weights="balanced"), 5, 9, folder, task=task)
    data = data_from_activations(training, features(48, 2), 8, seed=0, replicas=1)
    return train(model, data, config, tf.distribute.get_strategy(), Checkpoints(""))


def test_train_exclusive_classes_learns(tmp_path: Path) -> None:
    history = fit(features(96, 1), tmp_path, rate=0.1)
    assert history.best["val_auroc"] > 0.95 > history.initial["val_auroc"]
    assert history.best["val_accuracy"] > 0.8
    assert history.best["val_loss"] < history.initial["val_loss"]


def test_train_wrong_class_with_certainty_raises(tmp_path: Path) -> None:
    """Fails if the limit is not that of the softmax loss: the classes are permuted, and the features are large."""
    right = features(64, 1)
    wrong = CachedActivations([right.parts[0] * 1000], np.roll(right.truth, 1, axis=1), right.image_ids)
    with pytest.raises(FloatingPointError, match=r"a test: the loss must stay finite and below 1\d\.\d, got 1\d"):
        fit(wrong, tmp_path, rate=1e-6, kernel=np.eye(6, 3, dtype="float32"))
