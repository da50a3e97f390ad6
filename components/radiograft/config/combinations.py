"""What settings of several stages cannot be combined, and why. Those of ingest alone are in `Ingest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radiograft.backbones import get_backbone
from radiograft.config.base import Scalar
from radiograft.config.data import MULTICLASS, REGRESSION, STUDY, Ingest
from radiograft.config.evaluation import Evaluate, Publish
from radiograft.config.network import AVERAGE, FRONTAL, FRONTAL_LATERAL, LAST_LAYER, NOISY_OR, ExtractFeatures
from radiograft.config.patient_data import IMAGE_INPUTS, STANDARD_COLUMNS, served_name
from radiograft.config.training import ATTENTION_GUIDED, FROZEN_BATCH_NORM, Recipe, Training

Values = Mapping[str, Any]  # settings of all stages by name
Rules = Mapping[str, tuple[Scalar, str]]  # setting: the value that it must, or must not, have, and the reason

REQUIRED_BY_REGRESSION: Rules = {
    "compare_backbones": (
        Training.compare_backbones,
        "the comparison ranks networks by AUROC; run transfer_learning once for each backbone",
    ),
    "evaluate_operating_point": (Evaluate.evaluate_operating_point, "a number has no threshold"),
    "evaluate_ordered_classes": (Evaluate.evaluate_ordered_classes, "numbers are not classes"),
    "gate_external": (Publish.gate_external, "external evaluations are those of labels"),
}
RECIPE_REQUIRED_BY_REGRESSION: Rules = {  # options of `train_recipe`
    "label_smoothing": (Recipe.label_smoothing, "a number has no other classes"),
    "loss_weights": (Recipe.loss_weights, "a number has no classes to balance"),
}
REQUIRED_BY_CLASS_MAP: Rules = {
    "model_feature_layer": (LAST_LAYER, "the class map is computed from the last activation alone"),
    "model_patient_data": ("", "patient data join pooled features, and these heads have none"),
    "model_views": (FRONTAL, "the class map is that of one image"),
}
REQUIRED_BY_BRANCHES: Rules = {
    "model_feature_layer": (LAST_LAYER, "the crop follows the last convolution, whose pooled output is fused"),
    "model_pooling": (AVERAGE, "the fusion joins the averages of both branches"),
    "model_patient_data": ("", "the fusion joins two images only"),
    "model_views": (FRONTAL, "the fusion joins two images only"),
    "compare_backbones": ("", "a comparison trains the global branch only"),
    "train_batch_norm": (FROZEN_BATCH_NORM, "the branches before the one that is trained must not change"),
}
REJECTED_BY_BRANCHES: Rules = {
    "train_augmentation": ("online", "crops are cut once and cached"),
    "data_task": (REGRESSION, "branches are compared by AUROC"),
}
REJECTED_BY_SEARCH: Rules = {
    "model_branches": (ATTENTION_GUIDED, "a trial trains one branch"),
}


def check_combinations(values: Values) -> None:
    """Rejects settings of several stages that cannot be combined.

    Args:
        values: valid settings of all stages by name.

    Raises:
        ValueError: the message names the setting, the reason and the remedy.
    """
    _check_regression(values)
    _check_pooling(values)
    _check_views(values)
    _check_backbones(values)
    _check_patient_data(values)
    _check_branches(values)


def check_pooling_of_task(task: str, values: Values) -> None:
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


def check_search(values: Values) -> None:
    """Rejects settings that a search does not support.

    Args:
        values: settings of all stages by name.

    Raises:
        ValueError: the message names the setting and the reason.
    """
    _reject(
        values, REJECTED_BY_SEARCH, "{name} must not be {value} in a search, because {reason}: choose another value"
    )


def _require(values: Values, rules: Rules, message: str) -> None:
    """Raises the message, filled in, for the first setting that does not have its required value."""
    for name, (value, reason) in rules.items():
        if values[name] != value:
            raise ValueError(
                message.format(name=name, wanted=value or "empty", default=value, given=values[name], reason=reason)
            )


def _reject(values: Values, rules: Rules, message: str) -> None:
    """Raises the message, filled in, for the first setting that has its rejected value."""
    for name, (value, reason) in rules.items():
        if values[name] == value:
            raise ValueError(message.format(name=name, value=value, reason=reason))


def _check_regression(values: Values) -> None:
    if values["data_task"] != REGRESSION:
        return
    message = "{name} must keep its default {default!r} with data_task=regression, got {given!r}: {reason}"
    _require(values, REQUIRED_BY_REGRESSION, message)
    _require(vars(Training.of(values).recipe()), RECIPE_REQUIRED_BY_REGRESSION, f"train_recipe's {message}")
    if "lda" in values["model_feature_reduction"]:
        raise ValueError(
            f"model_feature_reduction must be pca or pls with data_task=regression, got "
            f"{values['model_feature_reduction']!r}: LDA separates classes"
        )


def _check_pooling(values: Values) -> None:
    pooling, box_weight = values["model_pooling"], values["train_box_weight"]
    if pooling == AVERAGE and box_weight:
        raise ValueError(
            f"train_box_weight must be 0 with model_pooling={AVERAGE}, got {box_weight}: boxes are learned at the "
            "positions of a class map; choose another pooling, such as noisy_or"
        )
    if pooling != AVERAGE:
        _require(
            values,
            REQUIRED_BY_CLASS_MAP,
            f"{{name}} must be {{wanted}} with model_pooling={pooling}, got {{given!r}}: {{reason}}; or choose "
            f"model_pooling={AVERAGE}",
        )
    check_pooling_of_task(values["data_task"], values)


def _check_views(values: Values) -> None:
    if values["model_views"] == FRONTAL_LATERAL and values["data_unit"] != STUDY:
        raise ValueError(
            "model_views=frontal_lateral must have studies with a lateral image, got data_unit="
            f"{values['data_unit']}: set data_unit=study, or model_views=frontal"
        )


def _check_backbones(values: Values) -> None:
    compared = ExtractFeatures.of(values).backbones_to_compare()
    for backbone in compared or (values["model_backbone"],):
        get_backbone(backbone).check_image_size(values["image_size"])
    if compared and values["model_weights"] not in ("imagenet", "none"):
        raise ValueError(
            "model_weights must be `imagenet` or `none` if compare_backbones names several networks, because a file "
            f"fits one, got {values['model_weights']!r}"
        )


def _check_patient_data(values: Values) -> None:
    """Checks that ingest reads the patient data that a model is to read, and that each can be an input of its own."""
    used, covariates = ExtractFeatures.of(values).patient_data(), Ingest.of(values).covariates()
    unknown = [name for name in used if name not in (*STANDARD_COLUMNS, *covariates)]
    if unknown:
        raise ValueError(
            f"model_patient_data must name {', '.join(STANDARD_COLUMNS)} or columns in data_covariates, "
            f"got {', '.join(unknown)}"
        )
    served = [*IMAGE_INPUTS, *map(served_name, used)]
    for name in used:
        if served.count(served_name(name)) > 1 or not served_name(name):
            raise ValueError(
                f"model_patient_data must name columns that differ in their letters a to z and digits, got {name!r}, "
                f"which would be the input {served_name(name)!r} of the served model: rename the column"
            )


def _check_branches(values: Values) -> None:
    crop_size, guided = values["image_crop_size"], values["model_branches"] == ATTENTION_GUIDED
    if crop_size and not guided:
        raise ValueError(
            f"image_crop_size must be 0 unless model_branches={ATTENTION_GUIDED}, which cuts crops, got {crop_size}"
        )
    if not guided:
        return
    if not crop_size:
        raise ValueError(
            f"image_crop_size must be given for model_branches={ATTENTION_GUIDED}, got 0: set it to twice image_size "
            f"({2 * values['image_size']}), or to image_size for crops without further detail"
        )
    condition = f"for model_branches={ATTENTION_GUIDED}, because {{reason}}"
    _require(values, REQUIRED_BY_BRANCHES, f"{{name}} must be {{wanted}} {condition}, got {{given!r}}")
    _reject(values, REJECTED_BY_BRANCHES, f"{{name}} must not be {{value}} {condition}")
