"""Two heads that train together: the loss of both, and networks without a second head."""

from __future__ import annotations

import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.config.network import MapPooling
from radiograft.config.training import Recipe
from radiograft.models.class_maps import build_self_transfer_classifier
from radiograft.models.heads import build_classifier
from radiograft.training.activation_cache import CachedActivations
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import data_from_activations
from radiograft.training.tasks.multiclass import MulticlassTask
from radiograft.training.tasks.multilabel import MultilabelTask
from radiograft.training.tasks.self_transfer import SelfTransferTask, train_both_heads
from radiograft.training.trainer import TrainConfig, train


def test_loss_of_both_heads_worked_example() -> None:
    """Of a present label, the classification head says 1/2 and the localization head 1/4."""
    truth, scores = np.ones((1, 1), "float32"), np.array([[0.5, 0.25]], "float32")
    loss = SelfTransferTask(MultilabelTask(), 1, 0.25).loss(truth, Recipe())
    assert float(loss.call(truth, scores)[0]) == pytest.approx(0.75 * math.log(2) + 0.25 * math.log(4))
    assert float(loss.worst(truth, scores)[0]) == pytest.approx(-math.log(1e-7), rel=1e-4)


def test_train_both_heads_of_another_network_changes_nothing() -> None:
    model, task = build_classifier(3, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0), MultilabelTask()
    assert train_both_heads(model, task) == (model, task)


def activations(images: int, seed: int) -> CachedActivations:
    """Maps of 4 x 4 positions, of which one is bright in the first channel if the label is present."""
    random = np.random.default_rng(seed)
    maps, present = random.normal(scale=0.1, size=(images, 4, 4, 3)).astype("float16"), random.random(images) < 0.5
    rows, columns = random.integers(0, 4, (2, images))
    maps[np.arange(images), rows, columns, 0] += 4 * present
    names = [str(number) for number in range(images)]
    return CachedActivations([maps[None]], present[:, None].astype("float32"), names)


@pytest.mark.parametrize(("weight", "localizes"), [(0.5, True), (0.0, False)])
def test_train_localization_head_learns_with_its_weight(weight: float, localizes: bool, tmp_path: Path) -> None:
    pooling = MapPooling("self_transfer", localization=weight)
    model = build_self_transfer_classifier((4, 4, 3), 1, pooling, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    before = model.get_layer("class_map").get_weights()[0]
    training, validation = activations(64, 0), activations(32, 1)
    data = data_from_activations(training, validation, 16, 0, 1)
    config = TrainConfig("test", "adam", 0.1, Recipe(), epochs=6, patience=9, logs=tmp_path)
    history = train(model, data, config, tf.distribute.get_strategy(), Checkpoints(""))
    assert history.best["val_auroc"] > 0.9
    kernel = model.get_layer("class_map").get_weights()[0]
    assert (np.abs(kernel - before).max() > 0.1) == localizes
    if localizes:
        maps = keras.Model(model.input, model.get_layer("class_map").output)(validation.parts[0][0]).numpy()
        shown = validation.truth[:, 0] == 1
        hottest = maps[shown, ..., 0].reshape(shown.sum(), -1).argmax(axis=1)
        bright = validation.parts[0][0][shown, ..., 0].reshape(shown.sum(), -1).argmax(axis=1)
        assert (hottest == bright).mean() > 0.9


def test_train_both_heads_of_exclusive_classes_gives_probabilities_of_both() -> None:
    pooling = MapPooling("self_transfer", localization=0.5)
    options = {"dense_units": 0, "dropout": 0.0, "l2": 0.0, "seed": 0, "activation": "softmax"}
    model = build_self_transfer_classifier((4, 4, 3), 3, pooling, **options)  # type: ignore[arg-type]
    both, task = train_both_heads(model, MulticlassTask(3))
    scores = np.asarray(both(np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")))
    np.testing.assert_allclose(scores.reshape(2, 2, 3).sum(axis=2), 1.0, rtol=1e-5)
    truth = np.eye(3, dtype="float32")[:2]
    loss = task.loss(truth, Recipe()).call(truth, scores)
    expected = -0.5 * (np.log(scores[[0, 1], [0, 1]]) + np.log(scores[[0, 1], [3, 4]]))
    np.testing.assert_allclose(np.asarray(loss), expected, rtol=1e-5)
