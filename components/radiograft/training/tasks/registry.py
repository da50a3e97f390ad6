"""The training task of each `data_task`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from radiograft.config.data import BINARY, MULTICLASS, MULTILABEL, REGRESSION
from radiograft.config.training import LOSS_MONITOR
from radiograft.models.spec import TargetScale
from radiograft.training.tasks.base import LOSS, Monitor, TrainingTask
from radiograft.training.tasks.multiclass import MulticlassTask
from radiograft.training.tasks.multilabel import MultilabelTask
from radiograft.training.tasks.regression import RegressionTask

BUILDERS: dict[str, Callable[[Sequence[str], tuple[TargetScale, ...]], TrainingTask]] = {
    BINARY: lambda labels, scales: MultilabelTask(),  # noqa: ARG005
    MULTICLASS: lambda labels, scales: MulticlassTask(len(labels)),  # noqa: ARG005
    MULTILABEL: lambda labels, scales: MultilabelTask(),  # noqa: ARG005
    REGRESSION: lambda labels, scales: RegressionTask(scales),  # noqa: ARG005
}


def get_task(name: str, labels: Sequence[str], scales: tuple[TargetScale, ...] = ()) -> TrainingTask:
    """Returns the training task; a binary label is a single independent one.

    Args:
        name: one of `radiograft.config.data.TASKS`.
        labels: names of the labels.
        scales: mean and standard deviation of each target of `regression` in training.

    Example:
        >>> get_task("multiclass", ["a", "b"]).activation, get_task("binary", ["a"]).activation
        ('softmax', 'sigmoid')
    """
    return BUILDERS[name](labels, scales)


def get_monitor(name: str) -> Monitor | None:
    """Returns the monitor of `train_monitor` that chooses between epochs; None is the monitor of the task."""
    return LOSS if name == LOSS_MONITOR else None
