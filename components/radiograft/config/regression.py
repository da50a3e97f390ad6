"""Settings that have no meaning for `data_task=regression`, and why. Those of ingest alone are in `Ingest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radiograft.config.base import Settings
from radiograft.config.data import REGRESSION
from radiograft.config.evaluation import Evaluate, Publish
from radiograft.config.training import Recipe, Training

# Settings that must keep their default, with the reason.
REASONS: dict[str, str] = {
    "compare_backbones": "the comparison ranks networks by AUROC; run transfer_learning once for each backbone",
    "evaluate_operating_point": "a number has no threshold",
    "evaluate_ordered_classes": "numbers are not classes",
    "gate_external": "external evaluations are those of labels",
}
DEFINED_IN: tuple[type[Settings], ...] = (Training, Evaluate, Publish)
RECIPE_REASONS: dict[str, str] = {
    "label_smoothing": "a number has no other classes",
    "loss_weights": "a number has no classes to balance",
}


def check_regression(values: Mapping[str, Any]) -> None:
    """Rejects settings that have no meaning for numbers; does nothing for other tasks.

    Args:
        values: all settings by name.

    Raises:
        ValueError: a setting has no meaning with `data_task=regression`.

    Example:
        >>> check_regression({"data_task": "regression", "train_recipe": "schedule=cosine"})
    """
    if values.get("data_task") != REGRESSION:
        return
    for name, reason in REASONS.items():
        default = next(getattr(stage, name) for stage in DEFINED_IN if hasattr(stage, name))
        _check_default(name, values.get(name, default), default, reason)
    recipe = Training.of(values).recipe()
    for name, reason in RECIPE_REASONS.items():
        _check_default(f"train_recipe's {name}", getattr(recipe, name), getattr(Recipe, name), reason)
    if "lda" in str(values.get("model_feature_reduction", "")):
        raise ValueError(
            f"model_feature_reduction must be pca or pls with data_task=regression, got "
            f"{values['model_feature_reduction']!r}: LDA separates classes"
        )


def _check_default(name: str, value: object, default: object, reason: str) -> None:
    if value != default:
        raise ValueError(f"{name} must keep its default {default!r} with data_task=regression, got {value!r}: {reason}")
