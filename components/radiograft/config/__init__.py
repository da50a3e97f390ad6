"""Every setting of every stage: the one place where a name, a default, a unit, a range and its help stand.

The run form, the components' signatures and the command line take names and defaults from here. The defaults are the
poster's (DenseNet-121, ImageNet, 224 px, cut-off `conv5_block16_2_conv`) where the poster states a value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from radiograft.backbones import get_backbone
from radiograft.config.base import Scalar, Settings
from radiograft.config.data import ALWAYS, DATA_CHANGED, FINDINGS, NO_FINDING, Ingest, Preprocess
from radiograft.config.evaluation import Evaluate, Publish
from radiograft.config.shared import RegistrySettings
from radiograft.config.training import AUTO_CUT_OFF, ExtractFeatures, FineTune, Training, split_cut_offs

__all__ = [
    "ALWAYS", "AUTO_CUT_OFF", "DATA_CHANGED", "FINDINGS", "NO_FINDING", "STAGES", "Evaluate",
    "ExtractFeatures", "FineTune", "Ingest", "Preprocess", "Publish", "RegistrySettings", "Training", "all_settings",
    "split_cut_offs", "validate_settings",
]  # fmt: skip

STAGES: tuple[type[Settings], ...] = (Ingest, Preprocess, ExtractFeatures, FineTune, Evaluate, Publish)


def all_settings() -> dict[str, dataclasses.Field[object]]:
    """All settings by name in alphabetical order, as the KFP run form lists them."""
    fields = {field.name: field for stage in STAGES for field in dataclasses.fields(stage)}
    return dict(sorted(fields.items()))


def validate_settings(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Every setting by name, from a mapping that may hold more; those of all stages' checks passed.

    Raises:
        ValueError, TypeError: a value that a stage refuses.
    """
    checked = {name: value for stage in STAGES for name, value in vars(stage.of(values)).items()}
    get_backbone(str(checked["model_backbone"])).check_image_size(int(checked["image_size"]))
    return checked
