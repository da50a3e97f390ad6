"""Settings of all stages. Each is defined once, with its name, default, unit, range and help text.

The command line, the pipelines' descriptions and the reference are generated from these definitions. Defaults follow
the poster where it states a value: DenseNet-121, ImageNet weights, 224 px and cut-off `conv5_block16_2_conv`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from radiograft.backbones import get_backbone
from radiograft.config.base import RegistrySettings, Scalar, Settings
from radiograft.config.branches import check_branches
from radiograft.config.data import FINDINGS, NO_FINDING, STUDY, Ingest, Preprocess
from radiograft.config.evaluation import Evaluate, Publish
from radiograft.config.patient_data import check_patient_data
from radiograft.config.pooling import check_pooling
from radiograft.config.regression import check_regression
from radiograft.config.search import Search
from radiograft.config.super_resolution import SuperResolution
from radiograft.config.training import (
    AUTO_CUT_OFF,
    FRONTAL_LATERAL,
    ExtractFeatures,
    FineTune,
    Training,
    split_cut_offs,
)

__all__ = [
    "AUTO_CUT_OFF", "FINDINGS", "NO_FINDING", "STAGES", "Evaluate",
    "ExtractFeatures", "FineTune", "Ingest", "Preprocess", "Publish", "RegistrySettings", "Search", "SuperResolution",
    "Training", "all_settings", "split_cut_offs", "validate_settings",
]  # fmt: skip

STAGES: tuple[type[Settings], ...] = (
    Ingest,
    Preprocess,
    ExtractFeatures,
    FineTune,
    Evaluate,
    Publish,
    Search,
    SuperResolution,
)


def all_settings() -> dict[str, dataclasses.Field[object]]:
    """Returns all settings by name, in alphabetical order."""
    fields = {field.name: field for stage in STAGES for field in dataclasses.fields(stage)}
    return dict(sorted(fields.items()))


def validate_settings(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Validates the settings of all stages and returns them by name, with defaults filled in.

    Args:
        values: settings by name; other keys are ignored.

    Raises:
        ValueError, TypeError: a value is invalid.
    """
    checked = {name: value for stage in STAGES for name, value in vars(stage.of(values)).items()}
    check_regression(checked)
    check_pooling(checked)
    if checked["model_views"] == FRONTAL_LATERAL and checked["data_unit"] != STUDY:
        raise ValueError(
            "model_views=frontal_lateral must have studies with a lateral image, got data_unit="
            f"{checked['data_unit']}: set data_unit=study, or model_views=frontal"
        )
    compared = ExtractFeatures.of(checked).backbones_to_compare()
    for backbone in compared or (str(checked["model_backbone"]),):
        get_backbone(backbone).check_image_size(int(checked["image_size"]))
    if compared and checked["model_weights"] not in ("imagenet", "none"):
        raise ValueError(
            "model_weights must be `imagenet` or `none` if compare_backbones names several networks, because a file "
            f"fits one, got {checked['model_weights']!r}"
        )
    check_patient_data(ExtractFeatures.of(checked).patient_data(), Ingest.of(checked).covariates())
    check_branches(checked)
    return checked
