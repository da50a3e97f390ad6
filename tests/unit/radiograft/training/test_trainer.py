"""Training: it keeps the best epoch, stops early or on divergence, and is reproducible."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss, roc_auc_score

from radiograft.config.training import Recipe
from radiograft.models.heads import build_classifier
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import TrainingData, data_from_activations, steps_per_epoch
from radiograft.training.history import History
from radiograft.training.optimizers import OPTIMIZERS
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import TrainingLoop, train

BATCH = 8


def features(images: int, seed: int) -> CachedActivations:
    """Returns features [1, images, 6] and a label [images, 1] that depends on half of them."""
    values = np.random.default_rng(seed).normal(size=(images, 6)).astype("float16")
    truth = (values[:, :3].sum(axis=1, keepdims=True) > 0).astype("float32")
    return CachedActivations([values[None]], truth, [f"image-{number}" for number in range(images)])


TRAIN, VALIDATION = features(64, 1), features(32, 2)


def classifier(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_classifier(6, 1, dense_units=8, dropout=0.2, l2=1e-4, seed=seed)


def make_config(logs: Path, **changes: str | float | Recipe) -> TrainConfig:
    values = {"optimizer": "adam", "learning_rate": 0.02, "epochs": 4, "patience": 10, "recipe": Recipe(), **changes}
    return TrainConfig(name="a test", logs=logs, **values)  # type: ignore[arg-type]


def training_data(training: CachedActivations = TRAIN, validation: CachedActivations = VALIDATION) -> TrainingData:
    return data_from_activations(training, validation, BATCH, seed=0, replicas=1)


def fit(model: keras.Model, config: TrainConfig, held_out: CachedActivations = VALIDATION) -> History:
    return train(model, training_data(validation=held_out), config, tf.distribute.get_strategy(), Checkpoints(""))


def scores(model: keras.Model, held_out: CachedActivations = VALIDATION) -> np.ndarray:
    return np.asarray(model(held_out.parts[0][0].astype("float32"), training=False))


def loss(model: keras.Model, held_out: CachedActivations = VALIDATION) -> float:
    return float(log_loss(held_out.truth[:, 0], scores(model, held_out)[:, 0].astype("float64")))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_train_with_each_optimizer_reduces_loss(optimizer: str, tmp_path: Path) -> None:
    history = fit(classifier(), make_config(tmp_path, optimizer=optimizer))
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3, 4]
    names = {"epoch", "loss", "accuracy", "learning_rate", "val_loss", "val_auroc", "val_accuracy"}
    assert all(set(row) == names for row in history.epochs)
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
    assert history.epochs[-1]["val_loss"] < history.initial["val_loss"] - 0.05
    assert [row["learning_rate"] for row in history.epochs] == [0.02] * 4


def test_train_validation_metrics_match_scikit_learn(tmp_path: Path) -> None:
    model = classifier()
    history = fit(model, make_config(tmp_path))
    predicted = scores(model)
    assert history.best["val_auroc"] == pytest.approx(roc_auc_score(VALIDATION.truth, predicted), abs=1e-9)
    assert history.best["val_loss"] == pytest.approx(loss(model), abs=1e-6)
    assert history.best["val_accuracy"] == np.mean((predicted > 0.5) == VALIDATION.truth)


def test_train_restores_epoch_of_highest_auroc(tmp_path: Path) -> None:
    model = classifier()
    history = fit(model, make_config(tmp_path, learning_rate=0.3, epochs=8))
    keys = [(row["val_auroc"], -row["val_loss"]) for row in [history.initial, *history.epochs]]
    assert history.best_epoch == keys.index(max(keys))
    assert 0 < history.best_epoch < 8
    assert (roc_auc_score(VALIDATION.truth, scores(model)), -loss(model)) == pytest.approx(max(keys), abs=1e-6)


def test_train_of_equal_auroc_keeps_lowest_loss(tmp_path: Path) -> None:
    separable = CachedActivations(
        [np.array([[[-3.0], [-2.0], [2.0], [3.0]]], dtype="float16")], np.float32([[0], [0], [1], [1]]), []
    )
    keras.utils.set_random_seed(0)
    model = build_classifier(1, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[0.1]]), np.float32([0])])
    data = TrainingData(
        lambda epochs: separable.training(4, epochs, 0),
        1,
        lambda *_: [],
        separable.truth,
        separable.in_order(4),
        separable.truth,
    )
    history = train(model, data, make_config(tmp_path, epochs=3), tf.distribute.get_strategy(), Checkpoints(""))
    assert [row["val_auroc"] for row in [history.initial, *history.epochs]] == [1.0, 1.0, 1.0, 1.0]
    assert history.best_epoch == 3


def test_train_without_improvement_keeps_initial_weights(tmp_path: Path) -> None:
    model = classifier()
    fit(model, make_config(tmp_path / "first", epochs=10))
    before = model.get_weights()[:4]
    contradiction = training_data(CachedActivations(TRAIN.parts, 1 - TRAIN.truth, TRAIN.image_ids))
    config = make_config(tmp_path / "second", epochs=9, patience=3, learning_rate=0.1)
    history = train(model, contradiction, config, tf.distribute.get_strategy(), Checkpoints(""))
    assert history.best_epoch == 0
    assert len(history.epochs) == 3
    assert history.best == history.initial
    assert history.epochs[-1]["val_auroc"] < 0.5 < history.initial["val_auroc"]
    for old, new in zip(before, model.get_weights()[:4], strict=True):
        np.testing.assert_array_equal(old, new)


def test_train_stops_after_patience_epochs(tmp_path: Path) -> None:
    history = fit(classifier(), make_config(tmp_path, learning_rate=0.3, epochs=40, patience=2))
    assert len(history.epochs) == history.best_epoch + 2 < 40


def test_train_nan_loss_raises_with_image_ids(tmp_path: Path) -> None:
    values = TRAIN.parts[0].copy()
    values[0, 19] = np.nan
    broken = CachedActivations([values], TRAIN.truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    config = make_config(tmp_path, learning_rate=0.015625)
    with pytest.raises(FloatingPointError, match="a test: the loss must stay finite and below") as caught:
        train(model, training_data(broken), config, tf.distribute.get_strategy(), Checkpoints(""))
    order = list(np.random.default_rng([0, 0]).permutation(64))
    step = order.index(19) // BATCH
    assert f"got nan at step {step + 1} of epoch 1 with learning rate 0.0156" in str(caught.value)
    ids = ", ".join(f"image-{row}" for row in order[(step - 1) * BATCH : (step + 1) * BATCH])
    assert str(caught.value).endswith(f"look at the images of this step and the last: {ids}")


def test_train_growing_loss_raises(tmp_path: Path) -> None:
    huge = CachedActivations([TRAIN.parts[0] * 1000], 1 - TRAIN.truth, TRAIN.image_ids)
    keras.utils.set_random_seed(0)
    model = build_classifier(6, 1, dense_units=8, dropout=0.0, l2=1.0, seed=0)
    with pytest.raises(FloatingPointError, match=r"must stay finite and below 1\d.*, got \d"):
        train(
            model,
            training_data(huge),
            make_config(tmp_path, optimizer="sgd", learning_rate=0.9),
            tf.distribute.get_strategy(),
            Checkpoints(""),
        )


def test_train_large_initial_penalty_is_accepted(tmp_path: Path) -> None:
    """Fails if the threshold depends on the initial cross-entropy only, and not on the penalty."""
    wide = build_classifier(6, 1, dense_units=256, dropout=0.0, l2=2.0, seed=0)
    losses = [row["loss"] for row in fit(wide, make_config(tmp_path, learning_rate=1e-3)).epochs]
    assert losses[0] > 20 > losses[-1]


def test_train_loss_near_maximum_after_bad_start_raises(tmp_path: Path) -> None:
    """Fails if the threshold is a multiple of the initial loss: without a penalty the loss is at most 16.1."""
    opposite = CachedActivations(VALIDATION.parts, 1 - VALIDATION.truth, VALIDATION.image_ids)
    certain = CachedActivations([TRAIN.parts[0] * 1000], 1 - TRAIN.truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[1], [1], [1], [0], [0], [0]]), np.float32([0])])
    assert loss(model, opposite) > 1.5
    with pytest.raises(FloatingPointError, match=r"below 13\.\d, got 1\d\.?\d? at step 1 of epoch 1"):
        train(
            model,
            training_data(certain, opposite),
            make_config(tmp_path),
            tf.distribute.get_strategy(),
            Checkpoints(""),
        )


HALF_UNKNOWN = np.where(np.arange(64)[:, None] % 2, np.float32(np.nan), 1 - TRAIN.truth)


@pytest.mark.parametrize(
    ("recipe", "truth"),
    [
        (Recipe(loss_weights="balanced"), 1 - TRAIN.truth),
        (Recipe(label_smoothing=0.5), 1 - TRAIN.truth),
        (Recipe(), HALF_UNKNOWN),
    ],
)
def test_train_loss_near_maximum_of_own_loss_raises(recipe: Recipe, truth: np.ndarray, tmp_path: Path) -> None:
    """Fails if the threshold is that of plain cross-entropy, at least 13: these losses cannot exceed 8 to 12."""
    wrong = CachedActivations([TRAIN.parts[0] * 1000], truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[1], [1], [1], [0], [0], [0]]), np.float32([0])])
    config = make_config(tmp_path, recipe=recipe, learning_rate=1e-6)
    with pytest.raises(FloatingPointError, match=r"must stay finite and below \d.*, got \d.* of epoch 1"):
        train(model, training_data(wrong), config, tf.distribute.get_strategy(), Checkpoints(""))


def test_train_divergence_late_in_epoch_raises_immediately(tmp_path: Path) -> None:
    """Fails if the running mean of the epoch is checked: it would hide the last of eight steps."""
    order = np.random.default_rng([0, 0]).permutation(64)
    truth = TRAIN.truth.copy()
    truth[order[-BATCH:]] = 1 - truth[order[-BATCH:]]
    mislabeled = CachedActivations([TRAIN.parts[0] * 1000], truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[1], [1], [1], [0], [0], [0]]), np.float32([0])])
    with pytest.raises(FloatingPointError, match=r"got 1\d.* at step 8 of epoch 1 with") as caught:
        train(
            model,
            training_data(mislabeled),
            make_config(tmp_path, learning_rate=1e-6),
            tf.distribute.get_strategy(),
            Checkpoints(""),
        )
    assert str(caught.value).endswith(", ".join(f"image-{row}" for row in order[-2 * BATCH :]))


def test_train_plateau_follows_training_objective(tmp_path: Path) -> None:
    """Fails if the plain loss is used: it rises while the balanced loss falls, and the rate would be reduced."""
    recipe = Recipe(loss_weights="balanced", schedule="plateau")
    history = fit(classifier(), make_config(tmp_path, recipe=recipe, epochs=3))
    scores = {name: [row[name] for row in history.epochs] for name in ("val_objective", "val_loss")}
    assert all(0 < one < other for one, other in zip(*scores.values(), strict=True))
    rows = [{"val_loss": 1.0 + n, "val_objective": 1.0 - n / 10} for n in range(4)]
    loop = TrainingLoop(
        classifier(),
        training_data(TRAIN),
        make_config(tmp_path, recipe=recipe),
        tf.distribute.get_strategy(),
        Checkpoints(""),
    )
    loop.network.compile("sgd", "mse")
    loop.initial, loop.rows, loop.epoch = rows[0], rows[1:], 3
    loop.on_train_batch_begin(0)
    assert loop.rate == make_config(tmp_path).learning_rate


def test_train_rare_label_in_first_step_is_accepted(tmp_path: Path) -> None:
    """Fails if the threshold is that of all training images, 0.4: the balanced loss of this step is 0.6."""
    truth = np.zeros((64, 1), "float32")
    truth[np.random.default_rng([0, 0]).permutation(64)[0]] = 1.0
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.zeros((6, 1), "float32"), np.float32([-5])])
    rare = CachedActivations(TRAIN.parts, truth, TRAIN.image_ids)
    config = make_config(tmp_path, recipe=Recipe(loss_weights="balanced"), epochs=1)
    history = train(model, training_data(rare), config, tf.distribute.get_strategy(), Checkpoints(""))
    assert 0.05 < history.epochs[0]["loss"] < 0.1  # one image, averaged over eight steps


def test_train_same_seed_gives_same_history_and_weights(tmp_path: Path) -> None:
    models = [classifier() for _ in range(2)]
    histories = []
    for number, model in enumerate(models):
        keras.utils.set_random_seed(0)
        histories.append(fit(model, make_config(tmp_path / str(number))))
    assert histories[0] == histories[1]
    for one, other in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_steps_per_epoch_counts_full_batches_or_raises() -> None:
    assert steps_per_epoch(64, 8, 1) == 8
    assert steps_per_epoch(65, 8, 2) == 8
    assert steps_per_epoch(8, 8, 4) == 1
    with pytest.raises(ValueError, match=r"number of training images \(7\), got 8"):
        steps_per_epoch(7, 8, 1)
    with pytest.raises(ValueError, match=r"multiple of the number of GPUs \(2\), got 7"):
        steps_per_epoch(64, 7, 2)
