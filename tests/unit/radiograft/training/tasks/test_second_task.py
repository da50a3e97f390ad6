"""A task with another loss, another metric and `mode="min"` trains through `train` without a change of the trainer."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from radiograft.config.training import Recipe
from radiograft.models.heads import build_classifier
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import TrainingData, data_from_activations
from radiograft.training.history import History
from radiograft.training.tasks.base import Monitor
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train

MEAN_ABSOLUTE_ERROR = Monitor("val_mae", "min")


class SquaredError(keras.losses.Loss):  # type: ignore[misc]
    """Squared error of targets from 0 to 1."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.mean(ops.square(y_true - y_pred), axis=-1)

    def worst(self, y_true: Any, y_pred: Any) -> Any:
        return self.call(y_true, ops.where(y_true > 0.5, ops.zeros_like(y_pred), ops.ones_like(y_pred)))


@dataclasses.dataclass(frozen=True)
class RegressionTask:
    """Predicts a fraction; monitored by mean absolute error."""

    activation: str = "sigmoid"
    monitor: Monitor = MEAN_ABSOLUTE_ERROR
    max_loss: float = 1.0
    chance_loss: float = 0.25

    def loss(self, truth: np.ndarray, recipe: Recipe) -> SquaredError:
        return SquaredError()

    def metrics(self) -> list[keras.metrics.Metric]:
        return [keras.metrics.MeanAbsoluteError(name="mae")]

    def evaluate(self, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
        errors = (truth - scores).astype("float64")
        return {"val_loss": float(np.square(errors).mean()), "val_mae": float(np.abs(errors).mean())}

    def format(self, metrics: Mapping[str, float]) -> str:
        return f"validation MAE {metrics['val_mae']:.4f}"


TASK = RegressionTask()


def features(images: int, seed: int, sign: float = 1.0) -> CachedActivations:
    """Features, and a target that a sigmoid of their sum gives."""
    values = np.random.default_rng(seed).normal(size=(images, 4)).astype("float16")
    targets = 1 / (1 + np.exp(-sign * values.sum(axis=1, keepdims=True, dtype="float32")))
    return CachedActivations([values[None]], targets, [f"image-{number}" for number in range(images)])


TRAIN, VALIDATION = features(64, 1), features(32, 2)


def fit(model: keras.Model, data: TrainingData, folder: Path, **changes: Any) -> History:
    config = TrainConfig("regression", "adam", 0.05, Recipe(), epochs=4, patience=9, logs=folder, task=TASK)
    config = dataclasses.replace(config, **changes)
    return train(model, data, config, tf.distribute.get_strategy(), Checkpoints(str(folder / "checkpoints")))


def regressor() -> keras.Model:
    keras.utils.set_random_seed(0)
    return build_classifier(4, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0, activation=TASK.activation)


def training_data(training: CachedActivations = TRAIN, validation: CachedActivations = VALIDATION) -> TrainingData:
    return data_from_activations(training, validation, 8, seed=0, replicas=1)


def mean_absolute_error(model: keras.Model) -> float:
    predicted = np.asarray(model(VALIDATION.parts[0][0].astype("float32")))
    return float(np.abs(predicted - VALIDATION.truth).mean())


def test_train_regression_keeps_epoch_of_lowest_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Fails if the trainer maximizes every monitor, or needs a metric or a loss of the multilabel task."""
    model = regressor()
    before = mean_absolute_error(model)
    with caplog.at_level(logging.INFO, "radiograft"):
        history = fit(model, training_data(), tmp_path)
    names = {"epoch", "loss", "mae", "learning_rate", "val_loss", "val_mae"}
    assert all(set(row) == names for row in history.epochs)
    errors = [row["val_mae"] for row in [history.initial, *history.epochs]]
    assert history.best_epoch == int(np.argmin(errors)) > 0
    assert errors[0] == pytest.approx(before, abs=1e-6)
    assert mean_absolute_error(model) == pytest.approx(min(errors), abs=1e-6)
    assert min(errors) < 0.5 * before
    assert f"regression: keeping epoch {history.best_epoch}, validation MAE {min(errors):.4f}" in caplog.text


def test_train_regression_on_contradicting_targets_keeps_initial_weights(tmp_path: Path) -> None:
    """Fails if patience or the best epoch follow the wrong direction: the error only grows here."""
    model = regressor()
    model.set_weights([np.ones((4, 1)), np.zeros(1)])
    history = fit(model, training_data(features(64, 1, sign=-1.0)), tmp_path, patience=2)
    assert (history.best_epoch, len(history.epochs)) == (0, 2)
    assert mean_absolute_error(model) == pytest.approx(history.initial["val_mae"], abs=1e-6)


def test_train_regression_resumes_from_checkpoint(tmp_path: Path) -> None:
    first = fit(regressor(), training_data(), tmp_path)
    model = regressor()
    assert fit(model, training_data(), tmp_path) == first
    assert mean_absolute_error(model) == pytest.approx(first.best["val_mae"], abs=1e-6)


def test_train_regression_divergence_uses_limits_of_task(tmp_path: Path) -> None:
    """Fails if the threshold is that of cross-entropy, which a squared error of at most 1 never reaches."""
    model = regressor()
    model.set_weights([np.full((4, 1), -1000.0), np.zeros(1)])
    certain = dataclasses.replace(TRAIN, truth=(TRAIN.truth > 0.5).astype("float32"))
    with pytest.raises(FloatingPointError, match=r"regression: the loss must stay finite and below 0\.\d+, got "):
        fit(model, training_data(certain), tmp_path, learning_rate=1e-6)
