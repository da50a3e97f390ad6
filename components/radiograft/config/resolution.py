"""Resolves settings: a preset or settings file, overrides as `name=value`, and defaults.

The command line resolves the settings before it starts a run. The first task of a run resolves those of the run form.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radiograft import storage
from radiograft.backbones import get_backbone, list_backbones
from radiograft.config import AUTO_CUT_OFF, all_settings, validate_settings
from radiograft.config.augmentation import Augmentation
from radiograft.config.base import Scalar, did_you_mean, read_scalar
from radiograft.config.data_policy import DataPolicy
from radiograft.config.evaluation import OperatingPoint
from radiograft.config.search import resolve_strategy
from radiograft.config.search_parameters import to_assignments
from radiograft.config.table_layout import TableLayout
from radiograft.config.training import ATTENTION_GUIDED, GLOBAL, Recipe, Training
from radiograft.utils.yaml_io import parse_yaml_mapping

# The pipelines.
TRANSFER_LEARNING, RETRAINING = "transfer_learning", "retraining"
CUTOFF_SEARCH, BACKBONE_COMPARISON = "cutoff_search", "backbone_comparison"
HYPERPARAMETER_SEARCH = "hyperparameter_search"
SUPER_RESOLUTION = "super_resolution"  # experimental
PIPELINES = (
    TRANSFER_LEARNING,
    RETRAINING,
    CUTOFF_SEARCH,
    BACKBONE_COMPARISON,
    HYPERPARAMETER_SEARCH,
    SUPER_RESOLUTION,
)
GENERATOR_NAME = "super-resolution"  # default name of a generator in the registry, where classifiers have their own
SEARCH_SECTION, SEARCH_SPACE = "search", "search_space"  # a section of settings files, and the setting that it sets
PRESETS_FOLDER = Path(__file__).parent / "presets"
# Settings whose text contains `name=value`, with the names that are known in advance.
NESTED_SETTINGS: dict[str, type[Any] | None] = {
    "data_policy": DataPolicy,
    "data_table": TableLayout,
    "evaluate_operating_point": OperatingPoint,
    "gate_external": None,  # names of external sets
    "gate_min_auroc": None,  # names of labels
    "image_augmentation": Augmentation,
    "search_space": None,  # JSON, whose values may contain `=`
    "train_recipe": Recipe,
}
# The settings that have a field in the KFP run form. All others stand in a settings file or in `overrides`.
FORM_SETTINGS = (
    "data_source", "data_format", "data_labels", "publish_registry", "publish_model_name", "model_backbone",
    "model_weights", "model_cut_off", "image_size", "train_fine_tune_epochs", "train_batch_size", "train_seed",
)  # fmt: skip


def load_settings_file(name: str) -> dict[str, Scalar]:
    """Reads settings from a YAML file.

    Args:
        name: path or URI of the file, or name of a preset such as `demo`. Setting names in the file may lack their
            prefix. The section `search` holds the value of `search_space` as a mapping.

    Raises:
        FileNotFoundError: there is no such file or preset.
        ValueError: the file is not a YAML mapping, a setting is unknown or given twice, or text is given for a number.
    """
    presets = {path.stem: path for path in PRESETS_FOLDER.glob("*.yaml")}
    path = str(presets.get(name, name))
    if not storage.is_bucket(path) and not Path(path).is_file():
        known = ", ".join(sorted(presets))
        raise FileNotFoundError(f"settings must be a file or one of {known}, got {name!r}{did_you_mean(name, presets)}")
    values: dict[str, Scalar] = {}
    for key, value in parse_yaml_mapping(storage.read_bytes(path), path).items():
        if key == SEARCH_SECTION:
            key, value = SEARCH_SPACE, value if isinstance(value, str) else json.dumps(value)
        full = full_name(key)
        if full in values:
            raise ValueError(f"{path} must set {full} only once, got it again as {key!r}")
        values[full] = _parse_float(full, value)
    return values


def _parse_float(name: str, value: Any) -> Any:
    """Converts text to a number where the setting is a float, because YAML 1.1 reads 1e-4 as text."""
    kind = type(all_settings()[name].default)
    return read_scalar(name, value, kind) if kind is float and isinstance(value, str) else value


def full_name(name: str) -> str:
    """Returns the full name of a setting whose prefix may be missing.

    Example:
        >>> full_name("backbone")
        'model_backbone'

    Raises:
        ValueError: the setting is unknown, or several settings have this short name.
    """
    names = list(all_settings())
    if name in names:
        return name
    matches = [full for full in names if full.partition("_")[2] == name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise ValueError(f"setting {name!r} is ambiguous, use {' or '.join(matches)}")
    short_names = [full.partition("_")[2] for full in names]
    raise ValueError(f"unknown setting {name!r}{did_you_mean(name, [*names, *short_names])}")


def split_overrides(text: str) -> list[str]:
    """Splits `name=value` assignments that are separated by lines or commas.

    A comma inside a value does not separate: in quotes, in a list of names, or in a setting that holds several values.

    Raises:
        ValueError: a part that looks like an assignment names an unknown setting.

    Example:
        >>> split_overrides("labels=Mass,Nodule, image_augmentation=zoom_range=0.1,rotation_range=5, seed=3")
        ['labels=Mass,Nodule', 'image_augmentation=zoom_range=0.1,rotation_range=5', 'seed=3']
    """
    assignments: list[str] = []
    for line in text.splitlines():
        current: list[str] = []
        for part in re.findall(r"(?:'[^']*'|\"[^\"]*\"|[^,])+", line):
            if current and _continues_value(current[0], part):
                current.append(part)
            else:
                assignments += [",".join(current).strip()] if current else []
                current = [part]
        assignments.append(",".join(current).strip())
    return [assignment for assignment in assignments if assignment]


def _continues_value(assignment: str, part: str) -> bool:
    """Returns whether a part after a comma belongs to the value of the assignment before it."""
    name, separator, _ = part.partition("=")
    if not separator:
        return True
    owner = full_name(assignment.partition("=")[0].strip())
    if owner not in NESTED_SETTINGS:
        return False
    nested = NESTED_SETTINGS[owner]
    if nested and name.strip() in {field.name for field in dataclasses.fields(nested)}:
        return True
    short_names = {full.partition("_")[2] for full in all_settings()}
    return name.strip() not in short_names | set(all_settings())


def apply_overrides(values: Mapping[str, Scalar], assignments: Sequence[str]) -> dict[str, Scalar]:
    """Applies `name=value` assignments to settings.

    A new backbone also sets its default cut-off, unless a cut-off is assigned or the settings search for one.

    Raises:
        ValueError: an assignment lacks `=`, names an unknown setting, or has a value of the wrong type.
    """
    changes: dict[str, Scalar] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"an override must be name=value, got {assignment!r}")
        full = full_name(name.strip())
        changes[full] = read_scalar(full, text.strip(), type(all_settings()[full].default))
    backbone = changes.get("model_backbone")
    default = all_settings()["model_backbone"].default
    if backbone in list_backbones() and backbone != values.get("model_backbone", default):
        own = get_backbone(str(backbone)).default_cut_off
        changes.setdefault("model_cut_off", AUTO_CUT_OFF if values.get("model_cut_off") == AUTO_CUT_OFF else own)
    return {**values, **changes}


def combine(pipeline: str, values: Mapping[str, Scalar], assignments: Sequence[str]) -> dict[str, Scalar]:
    """Returns the settings of a settings file, with assignments applied, for one of PIPELINES.

    The cut-off search tries all candidates, unless the file or an assignment names several cut-offs. In a backbone
    comparison, `model_backbone` is one of the compared backbones, by default the first. Super-resolution publishes its
    generators under a name of their own, unless a name is given.

    Raises:
        ValueError: as `apply_overrides`, or `compare_backbones` or `model_branches` does not suit the pipeline, or as
            `resolve_strategy` for the hyperparameter search.
    """
    if pipeline == CUTOFF_SEARCH and "," not in str(values.get("model_cut_off", "")):
        values = {**values, "model_cut_off": AUTO_CUT_OFF}
    combined = apply_overrides(values, assignments)
    if pipeline == SUPER_RESOLUTION:
        combined = {"publish_model_name": GENERATOR_NAME, **combined}
        if combined.get("image_super_resolution"):
            raise ValueError(
                f"image_super_resolution must be empty for the pipeline {SUPER_RESOLUTION}, which learns from recorded "
                f"detail, got {combined['image_super_resolution']!r}"
            )
    backbones = Training.of({**combined, "model_cut_off": AUTO_CUT_OFF}).backbones_to_compare()
    if (pipeline == BACKBONE_COMPARISON) != bool(backbones):
        raise ValueError(
            f"compare_backbones must name backbones for the pipeline {BACKBONE_COMPARISON} and be empty for others, "
            f"got {', '.join(backbones) or 'none'} for {pipeline}"
        )
    if pipeline == CUTOFF_SEARCH and combined.get("model_branches") == ATTENTION_GUIDED:
        raise ValueError(
            f"model_branches must be {GLOBAL} for the pipeline {CUTOFF_SEARCH}, got {ATTENTION_GUIDED}: each trial "
            "would train every branch; search the cut-off first, then set model_cut_off"
        )
    if pipeline == HYPERPARAMETER_SEARCH:
        resolve_strategy(fill_defaults(combined))
    if not backbones or combined.get("model_backbone") in backbones:
        return combined
    return apply_overrides(combined, [f"model_backbone={backbones[0]}"])


def fill_defaults(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Fills in defaults and validates the settings of all stages. The default cut-off depends on the backbone.

    Raises:
        ValueError, TypeError: a value is invalid.
    """
    full: dict[str, Any] = {name: field.default for name, field in all_settings().items()} | dict(values)
    if "model_cut_off" not in values:
        backbone = str(full["model_backbone"])
        full["model_cut_off"] = get_backbone(backbone).default_cut_off if backbone in list_backbones() else ""
    return validate_settings(full)


def resolve_trial(values: Mapping[str, Scalar], parameters: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Returns the settings of all stages for one trial of a search.

    Args:
        values: the settings of the search.
        parameters: values by the name of their parameter, see `radiograft.config.search_parameters`.

    Raises:
        ValueError, TypeError: the settings are invalid in this combination.
    """
    changes = to_assignments(values, parameters)
    return validate_settings(apply_overrides(values, [f"{name}={_format(value)}" for name, value in changes.items()]))


def resolve_form(form: Mapping[str, str], pipeline: str) -> dict[str, Scalar]:
    """Returns the settings of all stages from the fields of the run form. An empty field changes nothing.

    Args:
        form: text by field: `settings` (a preset, or path or URI of a settings file), `overrides`, FORM_SETTINGS.
        pipeline: one of PIPELINES.

    Raises:
        FileNotFoundError: the settings file does not exist.
        ValueError, TypeError: a setting is unknown, invalid, or given both in its field and in `overrides`.
    """
    loaded = load_settings_file(form["settings"]) if form["settings"] else {}
    fields = [f"{name}={form[name]}" for name in FORM_SETTINGS if form[name]]
    overrides = split_overrides(form["overrides"])
    for name in (full_name(override.partition("=")[0].strip()) for override in overrides if "=" in override):
        if form.get(name):
            raise ValueError(f"{name} must be given once, got its field and an entry in overrides: clear one of them")
    return fill_defaults(combine(pipeline, loaded, [*fields, *overrides]))


def fill_form(values: Mapping[str, Scalar]) -> dict[str, str]:
    """Returns the fields of the run form that `resolve_form` resolves to these settings.

    Settings without a field stand in `overrides`, one a line, if they differ from their defaults.
    """
    defaults = {name: field.default for name, field in all_settings().items()}
    others = [name for name in values if name not in FORM_SETTINGS and values[name] != defaults[name]]
    overrides = "\n".join(f"{name}={_format(values[name])}" for name in others)
    return {"settings": "", "overrides": overrides, **{name: _format(values[name]) for name in FORM_SETTINGS}}


def _format(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
