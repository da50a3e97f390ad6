"""Training: it keeps the best epoch, stops in time, says why it stopped, and is the same each time."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import log_loss, roc_auc_score

from radiograft.config.recipe import Recipe
from radiograft.models.heads import build_classifier
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import TrainingData, data_from_activations, steps_per_epoch
from radiograft.training.history import History
from radiograft.training.optimizers import OPTIMIZERS
from radiograft.training.trainer import TrainConfig, TrainingLoop, train

BATCH = 8


def features(images: int, seed: int) -> CachedActivations:
    """Features and a label that half of them decide, [1, images, 6] and [images, 1]."""
    values = np.random.default_rng(seed).normal(size=(images, 6)).astype("float16")
    truth = (values[:, :3].sum(axis=1, keepdims=True) > 0).astype("float32")
    return CachedActivations([values[None]], truth, [f"image-{number}" for number in range(images)])


TRAIN, VALIDATION = features(64, 1), features(32, 2)


def classifier(seed: int = 0) -> keras.Model:
    keras.utils.set_random_seed(seed)
    return build_classifier(6, 1, dense_units=8, dropout=0.2, l2=1e-4, seed=seed)


def plan(logs: Path, **changes: str | float | Recipe) -> TrainConfig:
    chosen = {"optimizer": "adam", "learning_rate": 0.02, "epochs": 4, "patience": 10, "recipe": Recipe(), **changes}
    return TrainConfig(name="a test", logs=logs, **chosen)  # type: ignore[arg-type]


def material(training: CachedActivations = TRAIN, validation: CachedActivations = VALIDATION) -> TrainingData:
    return data_from_activations(training, validation, BATCH, seed=0, replicas=1)


def fit(model: keras.Model, chosen: TrainConfig, held_out: CachedActivations = VALIDATION) -> History:
    return train(model, material(validation=held_out), chosen, tf.distribute.get_strategy(), Checkpoints(""))


def scores(model: keras.Model, held_out: CachedActivations = VALIDATION) -> np.ndarray:
    return np.asarray(model(held_out.parts[0][0].astype("float32"), training=False))


def loss(model: keras.Model, held_out: CachedActivations = VALIDATION) -> float:
    return float(log_loss(held_out.truth[:, 0], scores(model, held_out)[:, 0].astype("float64")))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, tmp_path: Path) -> None:
    history = fit(classifier(), plan(tmp_path, optimizer=optimizer))
    assert [row["epoch"] for row in history.epochs] == [1, 2, 3, 4]
    names = {"epoch", "loss", "accuracy", "learning_rate", "val_loss", "val_auroc", "val_accuracy"}
    assert all(set(row) == names for row in history.epochs)
    assert history.epochs[-1]["loss"] < history.epochs[0]["loss"]
    assert history.epochs[-1]["val_loss"] < history.initial["val_loss"] - 0.05
    assert [row["learning_rate"] for row in history.epochs] == [0.02] * 4


def test_validation_is_judged_as_scikit_learn_does(tmp_path: Path) -> None:
    model = classifier()
    history = fit(model, plan(tmp_path))
    found = scores(model)
    assert history.best["val_auroc"] == pytest.approx(roc_auc_score(VALIDATION.truth, found), abs=1e-9)
    assert history.best["val_loss"] == pytest.approx(loss(model), abs=1e-6)
    assert history.best["val_accuracy"] == np.mean((found > 0.5) == VALIDATION.truth)


def test_the_epoch_of_highest_auroc_comes_back(tmp_path: Path) -> None:
    model = classifier()
    history = fit(model, plan(tmp_path, learning_rate=0.3, epochs=8))
    merits = [(row["val_auroc"], -row["val_loss"]) for row in [history.initial, *history.epochs]]
    assert history.best_epoch == merits.index(max(merits))
    assert 0 < history.best_epoch < 8
    assert (roc_auc_score(VALIDATION.truth, scores(model)), -loss(model)) == pytest.approx(max(merits), abs=1e-6)


def test_of_equal_auroc_the_lowest_loss_wins(tmp_path: Path) -> None:
    parted = CachedActivations(
        [np.array([[[-3.0], [-2.0], [2.0], [3.0]]], dtype="float16")], np.float32([[0], [0], [1], [1]]), []
    )
    keras.utils.set_random_seed(0)
    model = build_classifier(1, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[0.1]]), np.float32([0])])
    data = TrainingData(
        lambda epochs: parted.training(4, epochs, 0), 1, lambda *_: [], parted.truth, parted.in_order(4), parted.truth
    )
    history = train(model, data, plan(tmp_path, epochs=3), tf.distribute.get_strategy(), Checkpoints(""))
    assert [row["val_auroc"] for row in [history.initial, *history.epochs]] == [1.0, 1.0, 1.0, 1.0]
    assert history.best_epoch == 3


def test_the_state_before_training_counts_as_epoch_0(tmp_path: Path) -> None:
    model = classifier()
    fit(model, plan(tmp_path / "first", epochs=10))
    before = model.get_weights()[:4]
    contradiction = material(CachedActivations(TRAIN.parts, 1 - TRAIN.truth, TRAIN.image_ids))
    chosen = plan(tmp_path / "second", epochs=9, patience=3, learning_rate=0.1)
    history = train(model, contradiction, chosen, tf.distribute.get_strategy(), Checkpoints(""))
    assert history.best_epoch == 0
    assert len(history.epochs) == 3
    assert history.best == history.initial
    assert history.epochs[-1]["val_auroc"] < 0.5 < history.initial["val_auroc"]
    for old, new in zip(before, model.get_weights()[:4], strict=True):
        np.testing.assert_array_equal(old, new)


def test_patience_counts_epochs_since_the_best(tmp_path: Path) -> None:
    history = fit(classifier(), plan(tmp_path, learning_rate=0.3, epochs=40, patience=2))
    assert len(history.epochs) == history.best_epoch + 2 < 40


def test_a_loss_that_is_no_number_stops_training_and_names_the_images(tmp_path: Path) -> None:
    values = TRAIN.parts[0].copy()
    values[0, 19] = np.nan
    broken = CachedActivations([values], TRAIN.truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    chosen = plan(tmp_path, learning_rate=0.015625)
    with pytest.raises(FloatingPointError, match="a test: the loss must stay finite and below") as caught:
        train(model, material(broken), chosen, tf.distribute.get_strategy(), Checkpoints(""))
    order = list(np.random.default_rng([0, 0]).permutation(64))
    step = order.index(19) // BATCH
    assert f"got nan at step {step + 1} of epoch 1 with learning rate 0.0156" in str(caught.value)
    ids = ", ".join(f"image-{row}" for row in order[(step - 1) * BATCH : (step + 1) * BATCH])
    assert str(caught.value).endswith(f"look at the images of this step and the last: {ids}")


def test_a_loss_that_grows_without_bound_stops_training(tmp_path: Path) -> None:
    huge = CachedActivations([TRAIN.parts[0] * 1000], 1 - TRAIN.truth, TRAIN.image_ids)
    keras.utils.set_random_seed(0)
    model = build_classifier(6, 1, dense_units=8, dropout=0.0, l2=1.0, seed=0)
    with pytest.raises(FloatingPointError, match=r"must stay finite and below 1\d.*, got \d"):
        train(
            model,
            material(huge),
            plan(tmp_path, optimizer="sgd", learning_rate=0.9),
            tf.distribute.get_strategy(),
            Checkpoints(""),
        )


def test_a_penalty_that_is_large_from_the_start_is_no_divergence(tmp_path: Path) -> None:
    """Fails where the limit knows of the cross-entropy before training only, and not of the penalty."""
    wide = build_classifier(6, 1, dense_units=256, dropout=0.0, l2=2.0, seed=0)
    losses = [row["loss"] for row in fit(wide, plan(tmp_path, learning_rate=1e-3)).epochs]
    assert losses[0] > 20 > losses[-1]


def test_a_loss_that_nears_its_worst_stops_training_however_bad_the_start(tmp_path: Path) -> None:
    """Fails where the limit is a multiple of the loss before training: without a penalty it is 16.1 at most."""
    opposite = CachedActivations(VALIDATION.parts, 1 - VALIDATION.truth, VALIDATION.image_ids)
    certain = CachedActivations([TRAIN.parts[0] * 1000], 1 - TRAIN.truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[1], [1], [1], [0], [0], [0]]), np.float32([0])])
    assert loss(model, opposite) > 1.5
    with pytest.raises(FloatingPointError, match=r"below 13\.\d, got 1\d\.?\d? at step 1 of epoch 1"):
        train(model, material(certain, opposite), plan(tmp_path), tf.distribute.get_strategy(), Checkpoints(""))


HALF_UNKNOWN = np.where(np.arange(64)[:, None] % 2, np.float32(np.nan), 1 - TRAIN.truth)


@pytest.mark.parametrize(
    ("recipe", "truth"),
    [
        (Recipe(loss_weights="balanced"), 1 - TRAIN.truth),
        (Recipe(label_smoothing=0.5), 1 - TRAIN.truth),
        (Recipe(), HALF_UNKNOWN),
    ],
)
def test_the_worst_is_told_however_low_the_trainings_own_loss_is(
    recipe: Recipe, truth: np.ndarray, tmp_path: Path
) -> None:
    """Fails where the limit is that of plain cross-entropy, 13 and more: these losses cannot exceed 8 to 12."""
    wrong = CachedActivations([TRAIN.parts[0] * 1000], truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[1], [1], [1], [0], [0], [0]]), np.float32([0])])
    chosen = plan(tmp_path, recipe=recipe, learning_rate=1e-6)
    with pytest.raises(FloatingPointError, match=r"must stay finite and below \d.*, got \d.* of epoch 1"):
        train(model, material(wrong), chosen, tf.distribute.get_strategy(), Checkpoints(""))


def test_a_step_late_in_an_epoch_is_told_at_once(tmp_path: Path) -> None:
    """Fails where the mean of the epoch so far is looked at: of the last of eight steps it would tell nothing."""
    order = np.random.default_rng([0, 0]).permutation(64)
    truth = TRAIN.truth.copy()
    truth[order[-BATCH:]] = 1 - truth[order[-BATCH:]]
    mislabeled = CachedActivations([TRAIN.parts[0] * 1000], truth, TRAIN.image_ids)
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.float32([[1], [1], [1], [0], [0], [0]]), np.float32([0])])
    with pytest.raises(FloatingPointError, match=r"got 1\d.* at step 8 of epoch 1 with") as caught:
        train(
            model,
            material(mislabeled),
            plan(tmp_path, learning_rate=1e-6),
            tf.distribute.get_strategy(),
            Checkpoints(""),
        )
    assert str(caught.value).endswith(", ".join(f"image-{row}" for row in order[-2 * BATCH :]))


def test_a_plateau_is_one_of_what_is_minimized(tmp_path: Path) -> None:
    """Fails where the plain loss decides: while the balanced one falls, that rises, and the rate would be cut."""
    recipe = Recipe(loss_weights="balanced", schedule="plateau")
    history = fit(classifier(), plan(tmp_path, recipe=recipe, epochs=3))
    scores = {name: [row[name] for row in history.epochs] for name in ("val_objective", "val_loss")}
    assert all(0 < one < other for one, other in zip(*scores.values(), strict=True))
    rows = [{"val_loss": 1.0 + n, "val_objective": 1.0 - n / 10} for n in range(4)]
    course = TrainingLoop(
        classifier(), material(TRAIN), plan(tmp_path, recipe=recipe), tf.distribute.get_strategy(), Checkpoints("")
    )
    course.network.compile("sgd", "mse")
    course.initial, course.rows, course.epoch = rows[0], rows[1:], 3
    course.on_train_batch_begin(0)
    assert course.rate == plan(tmp_path).learning_rate


def test_a_rare_finding_in_the_first_step_is_no_divergence(tmp_path: Path) -> None:
    """Fails where the limit is that of all training images, 0.4, though the balanced loss of this step is 0.6."""
    truth = np.zeros((64, 1), "float32")
    truth[np.random.default_rng([0, 0]).permutation(64)[0]] = 1.0
    model = build_classifier(6, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model.set_weights([np.zeros((6, 1), "float32"), np.float32([-5])])
    rare = CachedActivations(TRAIN.parts, truth, TRAIN.image_ids)
    chosen = plan(tmp_path, recipe=Recipe(loss_weights="balanced"), epochs=1)
    history = train(model, material(rare), chosen, tf.distribute.get_strategy(), Checkpoints(""))
    assert 0.05 < history.epochs[0]["loss"] < 0.1  # of this one image, over eight steps


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
    assert steps_per_epoch(64, 8, 1) == 8
    assert steps_per_epoch(65, 8, 2) == 8
    assert steps_per_epoch(8, 8, 4) == 1
    with pytest.raises(ValueError, match=r"number of training images \(7\), got 8"):
        steps_per_epoch(7, 8, 1)
    with pytest.raises(ValueError, match=r"multiple of the number of GPUs \(2\), got 7"):
        steps_per_epoch(64, 7, 2)
