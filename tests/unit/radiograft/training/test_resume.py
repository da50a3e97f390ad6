"""A training that is stopped and resumed gives the same result as an uninterrupted one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from radiograft.config.training import Recipe
from radiograft.models.heads import build_classifier
from radiograft.training import trainer
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import data_from_activations
from radiograft.training.history import History
from radiograft.training.optimizers import OPTIMIZERS
from radiograft.training.tasks.multiclass import MulticlassTask
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train
from tests.helpers.tensorboard_events import scalars

BATCH, STEPS, EPOCHS = 8, 4, 4
RECIPE = Recipe("cosine", 0.2, 0.5, 0.9, 0.5, 0.1, "balanced")


class Stopped(Exception):  # noqa: N818  not an error
    """The training was stopped from outside."""


class Run:
    """Training of a classifier with dropout on 32 images; attempts share only the checkpoints."""

    def __init__(self, folder: Path, optimizer: str = "adam", recipe: Recipe = RECIPE, **changes: object) -> None:
        self.folder, self.checkpoints, self.steps = folder, Checkpoints(str(folder / "kept")).of("run"), list[int]()
        self.config = TrainConfig("a test", optimizer, 0.02, recipe, EPOCHS, 10, folder)
        self.config = dataclasses.replace(self.config, **changes)  # type: ignore[arg-type]

    def attempt(self, stop: int | None = None, logs: str = "logs") -> tuple[keras.Model, History]:
        """Trains up to step `stop`; `steps` records the steps of all attempts."""
        keras.utils.set_random_seed(0)
        exclusive = isinstance(self.config.task, MulticlassTask)
        labels, activation = 3 if exclusive else 2, self.config.task.activation
        model = build_classifier(6, labels, dense_units=8, dropout=0.4, l2=1e-4, seed=0, activation=activation)
        training, held_out = (features(images, seed, exclusive) for images, seed in ((32, 1), (24, 2)))
        data = data_from_activations(training, held_out, BATCH, seed=0, replicas=1)
        config = dataclasses.replace(self.config, logs=self.folder / logs)
        original = trainer.learning_rate
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "learning_rate", self._until(stop, original))
            return model, train(model, data, config, tf.distribute.get_strategy(), self.checkpoints)

    def _until(self, stop: int | None, original: Callable[..., float]) -> Callable[..., float]:
        def rate(recipe: Recipe, highest: float, step: int, *others: object) -> float:
            if step == stop:
                raise Stopped
            self.steps.append(step)
            return original(recipe, highest, step, *others)

        return rate


def features(images: int, seed: int, exclusive: bool = False) -> CachedActivations:
    """Returns features and two labels or three exclusive classes, some unknown for every fourth image."""
    values = np.random.default_rng(seed).normal(size=(1, images, 6)).astype("float16")
    truth = (values[0, :, :2] + 0.5 * values[0, :, 2:4] > 0).astype("float32")
    truth[::4, 1] = np.nan
    if exclusive:
        truth = np.eye(3, dtype="float32")[values[0, :, :3].argmax(axis=1)]
        truth[::4] = np.nan
    return CachedActivations([values], truth, [f"image-{number}" for number in range(images)])


def check_equal(one: tuple[keras.Model, History], other: tuple[keras.Model, History]) -> None:
    assert one[1] == other[1]
    for weight, same in zip(one[0].trainable_weights, other[0].trainable_weights, strict=True):
        np.testing.assert_array_equal(weight, same)


def stop_at(run: Run, step: int) -> None:
    with pytest.raises(Stopped):
        run.attempt(stop=step)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[keras.Model, History]]:
    return Run(tmp_path_factory.mktemp("whole")).attempt()


@examples(max_examples=3, deadline=None)
@given(step=st.integers(0, EPOCHS * STEPS - 1))
def test_train_stopped_at_any_step_resumes_with_same_result(
    whole: tuple[keras.Model, History], step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    run = Run(tmp_path_factory.mktemp("stopped"))
    stop_at(run, step)
    check_equal(run.attempt(), whole)
    epoch_start = step - step % STEPS
    assert run.steps == [*range(step), *range(epoch_start, EPOCHS * STEPS)]


@examples(max_examples=2, deadline=None)
@given(step=st.integers(0, EPOCHS * STEPS - 1))
def test_train_exclusive_classes_stopped_at_any_step_resumes(
    step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("exclusive")
    uninterrupted = Run(folder / "whole", task=MulticlassTask(3)).attempt()
    run = Run(folder / "stopped", task=MulticlassTask(3))
    stop_at(run, step)
    check_equal(run.attempt(), uninterrupted)
    assert all(0.0 <= row["val_accuracy"] <= 1.0 for row in uninterrupted[1].epochs)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_with_each_optimizer_resumes(optimizer: str, tmp_path: Path) -> None:
    recipe = Recipe(schedule="plateau", clip_norm=0.1)
    uninterrupted = Run(tmp_path / "whole", optimizer, recipe).attempt()
    run = Run(tmp_path / "stopped", optimizer, recipe)
    stop_at(run, 2 * STEPS + 1)
    check_equal(run.attempt(), uninterrupted)


def test_train_stopped_several_times_resumes(whole: tuple[keras.Model, History], tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (6, 7, 15):
        stop_at(run, step)
    check_equal(run.attempt(), whole)


def test_train_in_float16_resumes_loss_scale(tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        uninterrupted = Run(tmp_path / "whole").attempt()
        run = Run(tmp_path / "stopped")
        stop_at(run, 2 * STEPS)
        resumed = run.attempt()
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(resumed[0].optimizer, keras.optimizers.LossScaleOptimizer)
    check_equal(resumed, uninterrupted)
    assert run.steps[2 * STEPS :] == [*range(2 * STEPS, EPOCHS * STEPS)]


def test_train_resumed_writes_complete_curves(whole: tuple[keras.Model, History], tmp_path: Path) -> None:
    run = Run(tmp_path)
    stop_at(run, 3 * STEPS)
    run.attempt(logs="second")
    for name, prefix in (("train", ""), ("validation", "val_")):
        curves = scalars(tmp_path / "second" / name)
        for metric in ("loss", "accuracy"):
            rows = [row[f"{prefix}{metric}"] for row in whole[1].epochs]
            assert curves[f"epoch_{metric}"] == pytest.approx(rows, abs=1e-6)


def test_train_finished_training_does_no_step(whole: tuple[keras.Model, History], tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.attempt()
    trained = len(run.steps)
    check_equal(run.attempt(logs="second"), whole)
    assert len(run.steps) == trained == EPOCHS * STEPS
    assert len(scalars(tmp_path / "second" / "validation")["epoch_auroc"]) == EPOCHS


def test_train_stopped_by_patience_does_no_step(tmp_path: Path) -> None:
    run = Run(tmp_path, "sgd", Recipe(), learning_rate=0.9, patience=2, epochs=40)
    first = run.attempt()
    trained = len(run.steps)
    assert trained == (first[1].best_epoch + 2) * STEPS < 40 * STEPS
    check_equal(run.attempt(), first)
    assert len(run.steps) == trained


def test_train_corrupt_checkpoint_starts_over(whole: tuple[keras.Model, History], tmp_path: Path) -> None:
    run = Run(tmp_path)
    stop_at(run, 3 * STEPS)
    (file,) = (tmp_path / "kept").rglob("*.state")
    file.write_bytes(file.read_bytes()[:-7])
    check_equal(run.attempt(), whole)
    assert run.steps[3 * STEPS :] == [*range(EPOCHS * STEPS)]
