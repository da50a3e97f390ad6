"""BatchNormalization that trains: its moving statistics belong to an epoch as the weights do."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from radiograft.config.training import Recipe
from radiograft.models.variables import moving_statistics, read_variables
from radiograft.training import trainer
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import data_from_activations
from radiograft.training.history import History
from radiograft.training.tasks.base import LOSS, Monitor
from radiograft.training.tasks.multilabel import validation_metrics
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train

BATCH, STEPS, EPOCHS = 8, 4, 5
PLATEAU, AVERAGED = Recipe("plateau", loss_weights="balanced"), Recipe(ema=0.5)


class Stopped(Exception):  # noqa: N818  not an error
    """The training was stopped from outside."""


def features(images: int, seed: int) -> CachedActivations:
    """Returns features whose mean and scale differ from those that an untrained normalization expects."""
    values = np.random.default_rng(seed).normal(size=(images, 6))
    truth = (values[:, :2] + 0.7 * values[:, 2:4] > 0).astype("float32")
    shifted = (3 * values + np.arange(6)).astype("float16")
    return CachedActivations([shifted[None]], truth, [f"image-{number}" for number in range(images)])


TRAINING, VALIDATION = features(32, 1), features(40, 2)


def normalized_network() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), dtype="float16")
    outputs = keras.layers.BatchNormalization(name="first_bn")(keras.layers.Dense(8, name="first")(inputs))
    outputs = keras.layers.Dropout(0.2, seed=3)(keras.layers.ReLU()(outputs))
    outputs = keras.layers.BatchNormalization(name="frozen_bn", trainable=False)(outputs)
    return keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid", name="probabilities")(outputs))


def fit(
    folder: Path,
    recipe: Recipe = PLATEAU,
    monitor: Monitor | None = None,
    stop: int | None = None,
    rate: float = 0.03,
) -> tuple[keras.Model, History]:
    """Trains with checkpoints in `folder`, up to step `stop`."""
    model, original = normalized_network(), trainer.learning_rate

    def until(recipe: Recipe, highest: float, step: int, *others: object) -> float:
        if step == stop:
            raise Stopped
        return original(recipe, highest, step, *others)  # type: ignore[arg-type]

    config = TrainConfig("a test", "adam", rate, recipe, EPOCHS, 10, folder / "logs", monitor=monitor)
    data = data_from_activations(TRAINING, VALIDATION, BATCH, seed=0, replicas=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "learning_rate", until)
        history = train(model, data, config, tf.distribute.get_strategy(), Checkpoints(str(folder / "kept")).of("run"))
    return model, history


def measure(model: keras.Model) -> dict[str, float]:
    return validation_metrics(VALIDATION.truth, np.asarray(model(VALIDATION.parts[0][0], training=False)))


def test_train_changes_statistics_of_trainable_layers_only(tmp_path: Path) -> None:
    model, _ = fit(tmp_path, monitor=LOSS)
    mean, variance = read_variables(moving_statistics(model))
    assert np.abs(mean).max() > 0.5
    assert np.abs(variance - 1).max() > 0.5
    frozen = model.get_layer("frozen_bn").get_weights()
    np.testing.assert_array_equal(frozen, [np.ones(8), np.zeros(8), np.zeros(8), np.ones(8)])


@pytest.mark.parametrize(
    ("recipe", "monitor"), [(PLATEAU, None), (PLATEAU, LOSS), (AVERAGED, LOSS)], ids=["auroc", "loss", "ema"]
)
def test_train_leaves_model_that_validates_as_its_best_epoch(
    recipe: Recipe, monitor: Monitor | None, tmp_path: Path
) -> None:
    """Fails if the last epoch's moving statistics stay with the best epoch's weights."""
    model, history = fit(tmp_path, recipe, monitor, rate=0.3)
    assert 0 < history.best_epoch < EPOCHS
    for name, value in measure(model).items():
        assert value == pytest.approx(history.best[name], abs=1e-6), name


def test_train_with_loss_monitor_keeps_epoch_of_lowest_loss(tmp_path: Path) -> None:
    """The loss is the weighted one, which training minimizes."""
    _, history = fit(tmp_path / "loss", monitor=LOSS, rate=0.3)
    losses = [row["val_objective"] for row in [history.initial, *history.epochs]]
    assert history.best_epoch == losses.index(min(losses))
    _, by_auroc = fit(tmp_path / "auroc", rate=0.3)
    assert by_auroc.epochs == history.epochs
    assert by_auroc.best_epoch != history.best_epoch


@functools.cache
def uninterrupted(recipe: Recipe) -> tuple[keras.Model, History]:
    with tempfile.TemporaryDirectory() as folder:
        return fit(Path(folder), recipe, LOSS)


@examples(max_examples=3, deadline=None)
@given(step=st.integers(1, EPOCHS * STEPS - 1), recipe=st.sampled_from([PLATEAU, AVERAGED]))
def test_train_stopped_at_any_step_resumes_with_same_statistics(
    step: int, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Fails if a checkpoint lacks the moving statistics, of the last or of the best epoch."""
    folder = tmp_path_factory.mktemp("normalized")
    whole, history = uninterrupted(recipe)
    with pytest.raises(Stopped):
        fit(folder / "stopped", recipe, LOSS, stop=step)
    resumed, same = fit(folder / "stopped", recipe, LOSS)
    assert dataclasses.asdict(same) == dataclasses.asdict(history)
    for weight, other in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_train_leaves_configuration_of_layers_unchanged(tmp_path: Path) -> None:
    """A saved network must load with a backend without synchronized statistics."""
    model, _ = fit(tmp_path)
    assert model.get_layer("first_bn").get_config() == normalized_network().get_layer("first_bn").get_config()


def test_train_on_infinite_activation_raises(tmp_path: Path) -> None:
    values = TRAINING.parts[0].copy()
    values[0, 3] = np.inf
    broken = CachedActivations([values], TRAINING.truth, TRAINING.image_ids)
    data = data_from_activations(broken, VALIDATION, BATCH, seed=0, replicas=1)
    config = TrainConfig("a test", "adam", 0.03, PLATEAU, EPOCHS, 10, tmp_path)
    with pytest.raises(FloatingPointError, match=r"a test: the loss must stay finite and below .*image-3"):
        train(normalized_network(), data, config, tf.distribute.get_strategy(), Checkpoints(""))
