"""What can be combined with a head that pools a class map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radiograft.config.data import MULTICLASS, REGRESSION
from radiograft.config.training import AVERAGE, LAST_LAYER, NOISY_OR, SELF_TRANSFER

# Settings that must have one value, with the reason. Those that a version of this package lacks are not checked.
REQUIRED: dict[str, tuple[object, str]] = {
    "model_feature_layer": (LAST_LAYER, "the class map is computed from the last activation alone"),
    "model_patient_data": (
        "",
        "patient data join pooled features, and a head over a class map reads the activation itself",
    ),
    "model_views": ("frontal", "the class map is that of one image"),
}


def check_pooling(values: Mapping[str, Any]) -> None:
    """Rejects settings that do not suit `model_pooling`.

    Args:
        values: settings of all stages by name.

    Raises:
        ValueError: the message names the setting, the reason and the remedy.
    """
    pooling, box_weight = values["model_pooling"], values["train_box_weight"]
    if pooling == AVERAGE and box_weight:
        raise ValueError(
            f"train_box_weight must be 0 with model_pooling={AVERAGE}, got {box_weight}: boxes are learned at the "
            "positions of a class map; choose another pooling, such as noisy_or"
        )
    if pooling == SELF_TRANSFER and box_weight:
        raise ValueError(
            f"train_box_weight must be 0 with model_pooling={SELF_TRANSFER}, got {box_weight}: its loss is that of two "
            "heads, which learn from labels alone; choose another pooling, such as noisy_or"
        )
    for name, (value, reason) in REQUIRED.items() if pooling != AVERAGE else ():
        if values.get(name, value) != value:
            raise ValueError(
                f"{name} must be {value or 'empty'} with model_pooling={pooling}, got {values[name]!r}: {reason}; or "
                f"choose model_pooling={AVERAGE}"
            )
    check_pooling_of_task(str(values["data_task"]), values)


def check_distillation(values: Mapping[str, Any]) -> None:
    """Rejects settings that do not suit `train_distillation_epochs`.

    Args:
        values: settings of all stages by name.

    Raises:
        ValueError: the message names the setting, the reason and the remedy.
    """
    epochs, members = values["train_distillation_epochs"], values["train_members"]
    if not epochs:
        return
    if members < 2:
        raise ValueError(
            f"train_members must be at least 2 with train_distillation_epochs={epochs}, got {members}: an ensemble has "
            "several epochs"
        )
    if values["model_pooling"] == SELF_TRANSFER or values["train_box_weight"]:
        raise ValueError(
            f"train_distillation_epochs must be 0 with model_pooling={SELF_TRANSFER} or train_box_weight above 0, got "
            f"{epochs}: only the scores of the labels are distilled; choose train_members alone, which averages weights"
        )


def check_pooling_of_task(task: str, values: Mapping[str, Any]) -> None:
    """Rejects a task that does not suit `model_pooling`; the labels decide it if `data_task` is `auto`.

    Args:
        task: one of `radiograft.config.data.TASKS`, or `auto`.
        values: settings of all stages by name.

    Raises:
        ValueError: exclusive classes with noisy-or or with boxes, or numbers with a class map.
    """
    pooling, box_weight = values["model_pooling"], values["train_box_weight"]
    if task == REGRESSION and pooling != AVERAGE:
        raise ValueError(
            f"model_pooling must be {AVERAGE} with data_task={REGRESSION}, got {pooling!r}: a class map shows where a "
            "label is"
        )
    if task == MULTICLASS and box_weight:
        raise ValueError(
            f"train_box_weight must be 0 with data_task={MULTICLASS}, got {box_weight}: the label at a position is "
            "learned on its own; choose 0, or data_task=multilabel"
        )
    if task == MULTICLASS and pooling == NOISY_OR:
        raise ValueError(
            f"model_pooling must not be {NOISY_OR} with data_task={MULTICLASS}: it combines the positions of each "
            "label on its own, and probabilities of exclusive classes sum to 1; choose lse, or data_task=multilabel"
        )
