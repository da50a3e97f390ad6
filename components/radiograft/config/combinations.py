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
    check_task(str(values["data_task"]), values)


def check_task(task: str, values: Mapping[str, Any]) -> None:
    """Raises an error if settings exclude the task, which `data_task=auto` leaves to the labels.

    Args:
        task: one of `radiograft.config.data.TASKS`, or `auto`.
        values: settings of all stages by name.

    Raises:
        ValueError: exclusive classes and noisy-or.
    """
    if task == MULTICLASS and values["model_pooling"] == NOISY_OR:
        raise ValueError(
            f"model_pooling={NOISY_OR} must have independent labels, got data_task={MULTICLASS}: it combines the "
            "positions of each label on its own, and probabilities of exclusive classes sum to 1; choose lse, or "
            "data_task=multilabel"
        )
