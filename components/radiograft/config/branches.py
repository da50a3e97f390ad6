"""What can be combined with an attention-guided network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radiograft.config.training import ATTENTION_GUIDED, LAST_LAYER

# Settings that must have one value, with the reason. Those that a version of this package lacks are not checked.
REQUIRED: dict[str, tuple[object, str]] = {
    "model_feature_layer": (LAST_LAYER, "the crop follows the last convolution, whose pooled output is fused"),
    "model_pooling": ("average", "the fusion joins the averages of both branches"),
    "model_patient_data": ("", "the fusion joins two images only"),
    "model_views": ("frontal", "the fusion joins two images only"),
    "compare_backbones": ("", "a comparison trains the global branch only"),
    "train_batch_norm": ("frozen", "the branches before the one that is trained must not change"),
}


def check_branches(values: Mapping[str, Any]) -> None:
    """Rejects settings that do not suit `model_branches`.

    Args:
        values: settings of all stages by name.

    Raises:
        ValueError: the message names the setting, the reason and the remedy.
    """
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
            f"({2 * int(values['image_size'])}), or to image_size for crops without further detail"
        )
    for name, (value, reason) in REQUIRED.items():
        if values.get(name, value) != value:
            raise ValueError(
                f"{name} must be {value or 'empty'} for model_branches={ATTENTION_GUIDED}, because {reason}, got "
                f"{values[name]!r}"
            )
    for name, value, reason in (
        ("train_augmentation", "online", "crops are cut once and cached"),
        ("data_task", "regression", "branches are compared by AUROC"),
    ):
        if values.get(name) == value:
            raise ValueError(f"{name} must not be {value} for model_branches={ATTENTION_GUIDED}, because {reason}")
