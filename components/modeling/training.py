"""Trains a network: optimizer, loss, early stopping that keeps the best epoch, history and TensorBoard logs."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from components.stage import log

OPTIMIZERS: dict[str, type[keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
SGD_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True)
class Plan:
    """How long and how fast to train; `steps` a training epoch, rates per step, `logs` a folder for TensorBoard."""

    name: str
    optimizer: str
    learning_rate: float
    epochs: int
    steps: int
    patience: int
    logs: Path


@dataclasses.dataclass(frozen=True)
class History:
    """`epochs`: one row an epoch with loss, accuracy, val_loss, val_accuracy; `best_epoch`: 0 is before the first."""

    epochs: list[dict[str, float]]
    best_epoch: int
    initial: dict[str, float]


def steps_an_epoch(pictures: int, batch_size: int, replicas: int) -> int:
    """Whole batches in an epoch, each split evenly over the replicas of the model.

    Raises:
        ValueError: there is not one, or it does not split evenly.
    """
    if batch_size % replicas:
        raise ValueError(f"train_batch_size must be a multiple of the number of GPUs ({replicas}), got {batch_size}")
    if batch_size > pictures:
        raise ValueError(
            f"train_batch_size must be at most the number of training pictures ({pictures}), got {batch_size}"
        )
    return pictures // batch_size


def validation_batch(pictures: int, batch_size: int, replicas: int) -> int:
    """The largest batch of at most `batch_size` pictures that splits evenly; on another one Keras cannot begin."""
    return max(1, min(pictures, batch_size) // replicas) * replicas


def make_optimizer(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    """The optimizer by its setting's name; SGD has momentum 0.9."""
    extra = {"momentum": SGD_MOMENTUM} if name == "sgd" else {}
    return OPTIMIZERS[name](learning_rate=learning_rate, **extra)


def train(model: keras.Model, training: tf.data.Dataset, validation: tf.data.Dataset, plan: Plan) -> History:
    """Fits the model, which must have been built in the scope of its strategy, and leaves it at its best epoch.

    The best epoch is the one of lowest validation loss, and the state before training counts as epoch 0, so that
    training never returns a model that validates worse than the one it was given.

    Args:
        training: batches for all epochs on end; validation: batches of one pass.

    Raises:
        FloatingPointError: the loss is no longer a finite number.
    """
    model.compile(make_optimizer(plan.optimizer, plan.learning_rate), "binary_crossentropy", metrics=["accuracy"])
    initial = model.evaluate(validation, verbose=0, return_dict=True)
    best = KeepBest(initial["loss"], plan)
    fitted = model.fit(
        training,
        validation_data=validation,
        epochs=plan.epochs,
        steps_per_epoch=plan.steps,
        shuffle=False,  # the batches come in the order that the seed gave
        verbose=0,
        callbacks=[best, keras.callbacks.TensorBoard(str(plan.logs), write_graph=False)],
    )
    columns: dict[str, list[Any]] = fitted.history
    epochs = [
        {"epoch": number + 1, **{name: float(values[number]) for name, values in columns.items()}}
        for number in range(len(columns["loss"]))
    ]
    return History(epochs, best.epoch, {f"val_{name}": float(value) for name, value in initial.items()})


class KeepBest(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops after `patience` epochs without a lower validation loss, and puts the best epoch's weights back."""

    def __init__(self, initial_loss: float, plan: Plan) -> None:
        super().__init__()
        self.plan, self.epoch, self.loss = plan, 0, initial_loss
        self.weights: list[Any] = []

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self.weights = self.model.get_weights()
        log.info("%s: before training, validation loss %.4f", self.plan.name, self.loss)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {})["loss"]
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"{self.plan.name}: the loss must stay finite, got {loss} at step {batch} of an epoch with learning "
                f"rate {self.plan.learning_rate:g}; choose a lower learning rate or train_precision=float32"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = logs or {}
        better = values["val_loss"] < self.loss
        log.debug(
            "%s: epoch %d of %d, loss %.4f, accuracy %.4f, validation loss %.4f, validation accuracy %.4f%s",
            self.plan.name, epoch + 1, self.plan.epochs, values["loss"], values["accuracy"],
            values["val_loss"], values["val_accuracy"], " (best)" if better else "",
        )  # fmt: skip
        if better:
            self.epoch, self.loss, self.weights = epoch + 1, values["val_loss"], self.model.get_weights()
        elif epoch + 1 - self.epoch >= self.plan.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        self.model.set_weights(self.weights)
        log.info("%s: keeping epoch %d, validation loss %.4f", self.plan.name, self.epoch, self.loss)
