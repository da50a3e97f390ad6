"""Training: it keeps the best epoch, stops in time, says why it stopped, and is the same each time."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from components.extract_features.features import in_order, shuffled
from components.modeling.network import build_classifier
from components.modeling.training import (
    OPTIMIZERS,
    History,
    Plan,
    make_optimizer,
    steps_an_epoch,
    train,
    validation_batch,
)

BATCH = 8


def features(pictures: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and a label that half of them decide, float32 [pictures, 6] and [pictures, 1]."""
    values = np.random.default_rng(seed).normal(size=(pictures, 6)).astype("float32")
    return values, (values[:, :3].sum(axis=1, keepdims=True) > 0).astype("float32")


TRAIN, VALIDATION = features(64, 1), features(32, 2)
CONTRADICTION = (VALIDATION[0], 1 - VALIDATION[1])


def classifier(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_classifier(6, 1, dense_units=8, dropout=0.2, l2=1e-4, seed=seed)


def plan(logs: Path, **changes: str | float) -> Plan:
    chosen = {"name": "a test", "optimizer": "adam", "learning_rate": 0.02, "epochs": 4, "patience": 10, **changes}
    return Plan(steps=len(TRAIN[0]) // BATCH, logs=logs, **chosen)  # type: ignore[arg-type]


def fit(model: keras.Model, chosen: Plan, held_out: tuple[np.ndarray, np.ndarray] = VALIDATION) -> History:
    return train(model, shuffled(*TRAIN, BATCH, chosen.epochs, seed=0), in_order(*held_out, BATCH), chosen)


def loss(model: keras.Model, held_out: tuple[np.ndarray, np.ndarray] = VALIDATION) -> float:
    return float(model.evaluate(in_order(*held_out, BATCH), verbose=0, return_dict=True)["loss"])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, tmp_path: Path) -> None:
    model = classifier()
    history = fit(model, plan(tmp_path, optimizer=optimizer))
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3, 4]
    assert set(history.epochs[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
    assert history.epochs[-1]["val_loss"] < history.initial["val_loss"] - 0.05


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adam", keras.optimizers.Adam),
        ("adamw", keras.optimizers.AdamW),
        ("rmsprop", keras.optimizers.RMSprop),
        ("sgd", keras.optimizers.SGD),
    ],
)
def test_an_optimizer_is_the_one_named(name: str, kind: type[keras.optimizers.Optimizer]) -> None:
    optimizer = make_optimizer(name, 0.125)
    assert type(optimizer) is kind
    assert float(optimizer.learning_rate) == 0.125
    assert name != "sgd" or optimizer.momentum == 0.9


def test_the_best_epoch_comes_back(tmp_path: Path) -> None:
    model = classifier()
    history = fit(model, plan(tmp_path, learning_rate=0.3, epochs=8))
    losses = [history.initial["val_loss"], *(row["val_loss"] for row in history.epochs)]
    assert history.best_epoch == int(np.argmin(losses))
    assert 0 < history.best_epoch < 8
    assert loss(model) == pytest.approx(min(losses), abs=1e-6)


def test_the_state_before_training_counts_as_epoch_0(tmp_path: Path) -> None:
    model = classifier()
    before, initial = model.get_weights(), loss_before(model)
    history = fit(model, plan(tmp_path, learning_rate=0.05, epochs=9, patience=3), CONTRADICTION)
    assert history.best_epoch == 0
    assert len(history.epochs) == 3
    assert history.initial["val_loss"] == pytest.approx(initial, abs=1e-6)
    assert min(row["val_loss"] for row in history.epochs) > initial
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def loss_before(model: keras.Model) -> float:
    """Binary cross-entropy and the L2 penalty on the contradiction, by hand."""
    probabilities = model(CONTRADICTION[0], training=False).numpy().astype("float64")
    cross_entropy = -np.mean(np.log(np.where(CONTRADICTION[1] == 1, probabilities, 1 - probabilities)))
    return float(cross_entropy + 1e-4 * sum(np.sum(kernel.astype("float64") ** 2) for kernel in kernels(model)))


def kernels(model: keras.Model) -> list[np.ndarray]:
    return [model.get_layer(name).get_weights()[0] for name in ("classifier_dense", "probabilities")]


def test_patience_counts_epochs_since_the_best(tmp_path: Path) -> None:
    history = fit(classifier(), plan(tmp_path, learning_rate=0.3, epochs=40, patience=2))
    assert len(history.epochs) == history.best_epoch + 2 < 40


def test_a_loss_that_is_no_number_stops_training(tmp_path: Path) -> None:
    broken = TRAIN[1].copy()
    broken[2 * BATCH + 3] = np.nan  # step 2 is the third
    chosen = plan(tmp_path, learning_rate=0.015625)
    with pytest.raises(FloatingPointError, match="a test: the loss must stay finite, got nan at step 2") as caught:
        train(classifier(), in_order(TRAIN[0], broken, BATCH), in_order(*VALIDATION, BATCH), chosen)
    assert "learning rate 0.015625" in str(caught.value)
    assert "choose a lower learning rate" in str(caught.value)


def test_the_same_seed_gives_the_same_history_and_weights(tmp_path: Path) -> None:
    models = [classifier() for _ in range(2)]
    histories = []
    for number, model in enumerate(models):
        keras.utils.set_random_seed(0)
        histories.append(fit(model, plan(tmp_path / str(number))))
    assert histories[0] == histories[1]
    for one, other in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_are_whole_batches_split_evenly() -> None:
    assert steps_an_epoch(64, 8, 1) == 8
    assert steps_an_epoch(65, 8, 2) == 8
    assert steps_an_epoch(8, 8, 4) == 1
    with pytest.raises(ValueError, match=r"number of training pictures \(7\), got 8"):
        steps_an_epoch(7, 8, 1)
    with pytest.raises(ValueError, match=r"multiple of the number of GPUs \(2\), got 7"):
        steps_an_epoch(64, 7, 2)


@pytest.mark.parametrize(
    ("pictures", "batch_size", "replicas", "expected"),
    [(100, 32, 1, 32), (31, 32, 1, 31), (31, 32, 2, 30), (33, 32, 2, 32), (3, 8, 2, 2), (7, 8, 4, 4), (1, 8, 2, 2)],
)
def test_a_validation_batch_splits_evenly(pictures: int, batch_size: int, replicas: int, expected: int) -> None:
    assert validation_batch(pictures, batch_size, replicas) == expected
