"""Distillation: the targets are the mean predictions of the members, for the batches on which the network trains."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from radiograft.models.heads import build_classifier
from radiograft.models.predictor import Predictor
from radiograft.training.datasets import data_from_activations
from radiograft.training.distillation import Distillation, distill
from radiograft.training.tasks.multilabel import MultilabelTask
from tests.unit.radiograft.training.test_resume import features

EPOCHS = 60


def test_distill_network_learns_the_mean_predictions_of_members_that_disagree() -> None:
    """The mean of two sigmoids is not a sigmoid, and differs from the prediction of the mean weights."""
    keras.utils.set_random_seed(0)
    network = build_classifier(6, 2, dense_units=16, dropout=0.0, l2=0.0, seed=0)
    training, held_out = features(64, 1), features(24, 2)
    data = data_from_activations(training, held_out, 16, seed=0, replicas=1)
    places, inputs = network.trainable_variables, training.parts[0][0]
    random = np.random.default_rng(0)
    members = [[4 * random.normal(size=place.shape).astype("float32") / 2 for place in places] for _ in range(2)]
    predictions = []
    for weights in members:
        for place, values in zip(places, weights, strict=True):
            place.assign(values)
        predictions.append(np.asarray(network(inputs)))
    mean = np.mean(predictions, axis=0)
    for place, values in zip(places, members[0], strict=True):
        place.assign(values)
    how = Distillation(MultilabelTask(), "adam", 0.05, (), range(8, 8 + EPOCHS))
    distill(network, Predictor(network, tf.distribute.get_strategy()), members, places, data, how)
    student = np.abs(np.asarray(network(inputs)) - mean).mean()
    best = np.abs(predictions[0] - mean).mean()
    assert student < best / 3
