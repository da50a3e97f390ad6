"""Settings that cannot be combined, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radiograft.config.data import MULTICLASS
from radiograft.config.training import AVERAGE, LAST_LAYER, NOISY_OR


def check_combinations(values: Mapping[str, Any]) -> None:
    """Raises an error if settings of different stages exclude each other.

    Args:
        values: settings of all stages by name.

    Raises:
        ValueError: the message names both settings, the reason and the remedy.
    """
    pooling, layer = values["model_pooling"], values["model_feature_layer"]
    if pooling != AVERAGE and layer != LAST_LAYER:
        raise ValueError(
            f"model_pooling={pooling} must have model_feature_layer={LAST_LAYER}, got {layer!r}: the class map is "
            f"computed from the last activation alone; choose {LAST_LAYER}, or model_pooling={AVERAGE}"
        )
    if pooling == AVERAGE and values["train_box_weight"]:
        raise ValueError(
            f"train_box_weight must be 0 with model_pooling={AVERAGE}, got {values['train_box_weight']}: boxes are "
            "learned at the positions of a class map; choose another pooling, such as noisy_or"
        )
    check_task(str(values["data_task"]), values)


def check_task(task: str, values: Mapping[str, Any]) -> None:
    """Raises an error if settings exclude the task, which `data_task=auto` leaves to the labels.

    Args:
        task: one of `radiograft.config.data.TASKS`, or `auto`.
        values: settings of all stages by name.

    Raises:
        ValueError: exclusive classes with noisy-or or with boxes.
    """
    if task == MULTICLASS and values["train_box_weight"]:
        raise ValueError(
            f"train_box_weight must be 0 with data_task={MULTICLASS}, got {values['train_box_weight']}: the label at "
            "a position is learned on its own; choose 0, or data_task=multilabel"
        )
    if task == MULTICLASS and values["model_pooling"] == NOISY_OR:
        raise ValueError(
            f"model_pooling={NOISY_OR} must have independent labels, got data_task={MULTICLASS}: it combines the "
            "positions of each label on its own, and probabilities of exclusive classes sum to 1; choose lse, or "
            "data_task=multilabel"
        )
