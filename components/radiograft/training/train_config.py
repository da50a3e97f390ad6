"""How a network is trained, as the settings of its strategy say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

import numpy as np

from radiograft.config import ExtractFeatures, FineTune
from radiograft.config.training import Recipe
from radiograft.training.history import History
from radiograft.training.tasks.base import Monitor, TrainingTask
from radiograft.training.tasks.multilabel import MultilabelTask
from radiograft.training.tasks.registry import get_monitor


class TrainObserver(Protocol):
    """Follows a training; an exception that it raises ends the training."""

    def on_epochs(self, history: History) -> None:
        """Called with all epochs so far after each epoch, and when training resumes."""

    def on_trained(self, history: History, scores: np.ndarray) -> None:
        """Called at the end with the validation scores, float32 [images, labels], of the weights that were kept."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        name: of the training, for log messages.
        optimizer: one of `radiograft.training.optimizers.OPTIMIZERS`.
        learning_rate: highest learning rate of the schedule.
        recipe: schedule, averaging, clipping and so on.
        epochs: largest number of epochs.
        patience: epochs without a better monitored metric before training stops.
        logs: folder for TensorBoard.
        head: names of the layers after the pooled features, which train at the full rate.
        task: loss, metrics and the monitor.
        monitor: chooses between epochs; None is the task's own monitor.
        observer: learns of each epoch and of the result, for a search.
        members: number of best epochs whose weights may be averaged; see `trainer.TrainingLoop.restore_best`.
        distillation_epochs: epochs of training on the mean predictions of these epochs; 0 distills nothing.
    """

    name: str
    optimizer: str
    learning_rate: float
    recipe: Recipe
    epochs: int
    patience: int
    logs: Path
    head: tuple[str, ...] = ()
    task: TrainingTask = MultilabelTask()  # noqa: RUF009  immutable
    monitor: Monitor | None = None
    observer: TrainObserver | None = None
    members: int = 1
    distillation_epochs: int = 0


def train_config(
    settings: ExtractFeatures | FineTune,
    task: TrainingTask,
    head: tuple[str, ...],
    logs: Path,
    observer: TrainObserver | None = None,
) -> TrainConfig:
    """Returns how to train by the settings of a strategy; see `TrainConfig`."""
    if isinstance(settings, ExtractFeatures):
        name, epochs = logs.name.replace("_", " "), settings.train_feature_epochs
        learning_rate = settings.train_feature_learning_rate
    else:
        name, epochs = "fine tuning", settings.train_fine_tune_epochs
        learning_rate = settings.train_fine_tune_learning_rate
    return TrainConfig(
        name=name,
        optimizer=settings.train_optimizer,
        learning_rate=learning_rate,
        recipe=settings.recipe(),
        epochs=epochs,
        patience=settings.train_patience,
        logs=logs,
        head=head,
        task=task,
        monitor=get_monitor(settings.train_monitor),
        observer=observer,
        members=settings.train_members,
        distillation_epochs=settings.train_distillation_epochs,
    )
