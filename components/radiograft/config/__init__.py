"""Settings of all stages. Each is defined once, with its name, default, unit, range and help text.

The command line, the pipelines' descriptions and the reference are generated from these definitions. Defaults follow
the poster where it states a value: DenseNet-121, ImageNet weights, 224 px and cut-off `conv5_block16_2_conv`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from radiograft.config.base import RegistrySettings, Scalar, Settings
from radiograft.config.combinations import check_combinations
from radiograft.config.data import FINDINGS, NO_FINDING, Ingest
from radiograft.config.evaluation import Evaluate, Publish
from radiograft.config.network import ExtractFeatures
from radiograft.config.preprocessing import Preprocess
from radiograft.config.search import Search
from radiograft.config.super_resolution import SuperResolution
from radiograft.config.training import AUTO_CUT_OFF, FineTune, Training, split_cut_offs

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
        ValueError, TypeError: a value is invalid, or cannot be combined with others.
    """
    checked = {name: value for stage in STAGES for name, value in vars(stage.of(values)).items()}
    check_combinations(checked)
    return checked
