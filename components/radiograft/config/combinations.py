"""Settings that cannot be combined, each with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radiograft.config.data import MULTICLASS, REGRESSION, STUDY
from radiograft.config.training import AVERAGE, FRONTAL_LATERAL, LAST_LAYER, NOISY_OR


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
    if pooling != AVERAGE and (values["model_patient_data"] or values["model_views"] == FRONTAL_LATERAL):
        further = "model_patient_data" if values["model_patient_data"] else "model_views"
        raise ValueError(
            f"{further} must keep its default with model_pooling={pooling}, got {values[further]!r}: further inputs "
            f"join pooled features, and the class map has none; leave it out, or choose model_pooling={AVERAGE}"
        )
    if values["model_views"] == FRONTAL_LATERAL and values["data_unit"] != STUDY:
        raise ValueError(
            "model_views=frontal_lateral must have studies with a lateral image, got data_unit="
            f"{values['data_unit']}: set data_unit=study, or model_views=frontal"
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
        ValueError: numbers with a class map, or exclusive classes with noisy-or or with boxes.
    """
    if task == REGRESSION and values["model_pooling"] != AVERAGE:
        raise ValueError(
            f"model_pooling must be {AVERAGE} with data_task={REGRESSION}, got {values['model_pooling']!r}: a class "
            "map shows labels, and a number has none"
        )
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
