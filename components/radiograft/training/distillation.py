"""Distills an ensemble, the best epochs of a training, into one network (Hinton et al. 2015)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from radiograft.config.training import Recipe
from radiograft.models import variables
from radiograft.models.predictor import Predictor
from radiograft.training.datasets import TrainingData
from radiograft.training.optimizers import build_optimizer, learning_rate
from radiograft.training.tasks.base import TrainingTask

SCHEDULE = Recipe(schedule="cosine")


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How to distill.

    Attributes:
        task: its plain loss compares the network with the mean predictions of the ensemble.
        optimizer: one of `radiograft.training.optimizers.OPTIMIZERS`.
        learning_rate: at the first step; it falls to 0 along a cosine.
        head: names of the layers after the pooled features.
        epochs: numbers of the epochs, which choose their batches; training used none of them.
    """

    task: TrainingTask
    optimizer: str
    learning_rate: float
    head: tuple[str, ...]
    epochs: range


def distill(
    network: keras.Model,
    predictor: Predictor,
    members: Sequence[list[np.ndarray]],
    places: Sequence[keras.Variable],
    data: TrainingData,
    how: Distillation,
) -> None:
    """Trains a network from its current weights on the mean predictions of several sets of its weights.

    The targets are those of the same batches, so that augmented images have targets of their own. Unknown labels have
    targets too.

    Args:
        network: the network; its weights change.
        predictor: predicts with this network.
        members: values of `places`, one list a member.
        places: the variables in which the members differ.
        data: training data.
        how: optimizer, rate and epochs.
    """
    start = variables.read_variables(places)
    batches = data.batches(how.epochs).take(len(how.epochs) * data.steps)
    targets = _mean_predictions(predictor, members, places, batches)
    variables.write_variables(places, start)
    student = keras.Model(network.input, network.outputs[0])  # so that the loss of `network` stays
    student.compile(build_optimizer(how.optimizer, SCHEDULE, student, how.head), how.task.loss(data.truth, Recipe()))
    taught = tf.data.Dataset.from_tensor_slices(targets)
    steps = len(how.epochs) * data.steps
    with variables.synchronized_statistics(student):
        student.fit(
            tf.data.Dataset.zip((batches.map(_inputs), taught)),
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
            callbacks=[_CosineRate(how.learning_rate, steps)],
        )


def _mean_predictions(
    predictor: Predictor,
    members: Sequence[list[np.ndarray]],
    places: Sequence[keras.Variable],
    batches: tf.data.Dataset,
) -> np.ndarray:
    """Returns the mean predictions for each batch, float32 [batches, n, labels]."""
    total = np.zeros(())
    for weights in members:
        variables.write_variables(places, weights)
        total = total + np.stack(list(predictor.iter_outputs(batches.map(_inputs)))).astype("float64")
    mean: np.ndarray = (total / len(members)).astype("float32")
    return mean


def _inputs(inputs: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:  # noqa: ARG001
    return inputs


class _CosineRate(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, highest: float, steps: int) -> None:
        super().__init__()
        self.highest, self.steps = highest, steps

    def on_train_batch_begin(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self.model.optimizer.learning_rate = learning_rate(SCHEDULE, self.highest, batch, self.steps, [])
