"""What a hyperparameter search varies: ranges or choices for settings, with conditions."""

from __future__ import annotations

import dataclasses
import graphlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from radiograft.backbones import get_backbone, list_backbones
from radiograft.config.base import Scalar, Settings, did_you_mean, read_scalar
from radiograft.config.network import ExtractFeatures
from radiograft.config.preprocessing import SIZE_STEP, Preprocess
from radiograft.config.search_parameters import NESTED, Parameter, SearchSpace
from radiograft.config.training import DEFAULT_BACKBONE, FineTune

STAGES: tuple[type[Settings], ...] = (Preprocess, ExtractFeatures, FineTune)
# They change no trained network, or trials that differ in them cannot be compared.
NOT_SEARCHED = {
    "compare_backbones", "data_policy", "image_channels", "image_crop_size", "image_gray_range",
    "image_super_resolution", "model_branches", "model_feature_reduction", "model_ood_percentile",
    "model_random_baseline", "model_views", "model_weights_md5", "preprocess_workers", "train_crop_control",
    "train_frozen_engine", "train_precision", "train_seed",
}  # fmt: skip
UNCHECKED = ("model_cut_off", "model_feature_layer")  # whether a layer exists depends on the backbone of a trial
OPTIONS = ("choices", "high", "log", "low", "step", "when")
PRESET = "preset"  # key of a space that extends a preset

_HEAD: dict[str, Any] = {
    "model_dense_units": [0, 128, 256, 512],
    "model_dropout": {"low": 0.0, "high": 0.7},
    "model_l2": {"low": 1e-6, "high": 1e-2, "log": True},
    "train_optimizer": ["adam", "adamw", "rmsprop", "sgd"],
}
_BACKBONES = ["densenet121", "efficientnet_lite0", "mobilenet_v2", "resnet50"]
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {**_HEAD, "train_feature_learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    "standard": {
        "model_dropout": _HEAD["model_dropout"],
        "model_l2": _HEAD["model_l2"],
        "train_optimizer": ["adam", "adamw", "sgd"],
        "train_fine_tune_learning_rate": {"low": 1e-5, "high": 3e-3, "log": True},
        "train_recipe.schedule": ["constant", "cosine", "plateau"],
        "train_recipe.warm_up": {"low": 0.0, "high": 0.3, "when": {"train_recipe.schedule": "cosine"}},
        "train_recipe.layer_decay": {"low": 0.5, "high": 1.0},
        "train_recipe.label_smoothing": {"low": 0.0, "high": 0.2},
        "train_recipe.loss_weights": ["none", "balanced"],
    },
    "augmentation": {
        "image_augmentation.rotation_range": {"low": 0, "high": 30},
        "image_augmentation.width_shift_range": {"low": 0, "high": 0.2},
        "image_augmentation.height_shift_range": {"low": 0, "high": 0.2},
        "image_augmentation.zoom_range": {"low": 0, "high": 0.3},
        "image_augmentation.shear_range": {"low": 0, "high": 15},
        "image_augmentation.channel_shift_range": {"low": 0, "high": 30},
        "image_augmentation.horizontal_flip": [False, True],
        "train_cached_augmentations": [1, 4, 8],
    },
    "rand_augment": {  # with image_augmentation=rand_augment
        "image_augmentation.number": {"low": 1, "high": 5},
        "image_augmentation.strength": {"low": 0.1, "high": 1.0},
    },
    "architecture": {
        "model_backbone": _BACKBONES,
        "model_feature_layer": ["last", "all"],
        "model_dense_units": _HEAD["model_dense_units"],
        "model_dropout": _HEAD["model_dropout"],
        "train_feature_learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    },
    "backbones": {"model_backbone": _BACKBONES},
    "cut_offs": {},  # the candidates of the backbone, see `parse_space`
}


def parse_space(text: str, backbone: str = DEFAULT_BACKBONE) -> SearchSpace:
    """Parses `search_space`: the name of a preset, or a JSON object of ranges and choices by setting.

    Args:
        text: `quick`, or such as `{"preset": "quick", "model_dropout": [0.2, 0.5]}`; null removes a parameter.
        backbone: whose candidates the preset `cut_offs` lists.

    Raises:
        ValueError: a name or option is unknown, or a range or condition is invalid.

    Example:
        >>> parse_space('{"dropout": {"low": 0.1, "high": 0.5}}').parameters["model_dropout"].high
        0.5
    """
    entries = _entries(text, backbone)
    parsed = {name: _parse_parameter(name, value) for name, value in entries.items()}
    for parameter in parsed.values():
        for name, allowed in parameter.when:
            _check_condition(parameter.name, name, allowed, parsed)
    parents = {name: [other for other, _ in parameter.when] for name, parameter in sorted(parsed.items())}
    try:
        order = list(graphlib.TopologicalSorter(parents).static_order())
    except graphlib.CycleError as error:
        raise ValueError(
            f"search_space must not have conditions that depend on each other, got {' -> '.join(error.args[1])}"
        ) from None
    return SearchSpace({name: parsed[name] for name in order})


def _entries(text: str, backbone: str) -> dict[str, Any]:
    """Returns the entries of a space by full name, those of the preset included."""
    given: Any = {PRESET: text}
    if text.startswith("{"):
        try:
            given = json.loads(text)
        except ValueError as error:
            raise ValueError(f"search_space must be a preset or a JSON object, got {text!r}: {error}") from None
    presets = {**PRESETS, "cut_offs": {"model_cut_off": list(get_backbone(backbone).cut_offs)}}
    preset = given.pop(PRESET, None)
    if preset is not None and preset not in presets:
        raise ValueError(
            f"search_space must be one of {', '.join(presets)}, or a JSON object, got {preset!r}"
            f"{did_you_mean(str(preset), presets)}"
        )
    entries = dict(presets[preset]) if preset else {}
    named = [(_full_name(name), value) for name, value in given.items()]
    if len({name for name, _ in named}) < len(named):
        raise ValueError(f"search_space must name each setting once, got {', '.join(given)}")
    kept = {name: value for name, value in {**entries, **dict(named)}.items() if value is not None}
    if not kept:
        raise ValueError(f"search_space must have at least one parameter, got {text!r}")
    for name in kept:
        if (whole := name.partition(".")[0]) != name and whole in kept:
            raise ValueError(f"search_space must have either {whole} or its options, got {whole} and {name}")
    return kept


def _fields() -> dict[str, dataclasses.Field[Any]]:
    """Returns the fields of all settings that may be searched, by name, and of options as `setting.option`."""
    fields = {field.name: field for stage in STAGES for field in dataclasses.fields(stage)}
    for name, (holder, _) in NESTED.items():
        fields |= {f"{name}.{field.name}": field for field in dataclasses.fields(holder)}
    return {name: field for name, field in fields.items() if name not in NOT_SEARCHED}


def _full_name(name: str) -> str:
    names = list(_fields())
    short = [full for full in names if full.partition("_")[2] == name]
    if name in names or len(short) == 1:
        return name if name in names else short[0]
    if name in NOT_SEARCHED:
        raise ValueError(f"search_space must not have {name}: it is the same in all trials")
    every = [*names, *(full.partition("_")[2] for full in names)]
    raise ValueError(f"search_space has no setting {name!r} to search{did_you_mean(name, every)}")


def _parse_parameter(name: str, entry: Any) -> Parameter:
    if isinstance(entry, list):
        entry = {"choices": entry}
    if not isinstance(entry, dict) or ("choices" in entry) == ("low" in entry or "high" in entry):
        raise ValueError(f"search_space's {name} must be a list of choices, or have low and high, got {entry!r}")
    for option in entry:
        if option not in OPTIONS:
            raise ValueError(f"search_space's {name} has no option {option!r}{did_you_mean(option, OPTIONS)}")
    parameter = _parse_choices(name, entry) if "choices" in entry else _parse_range(name, entry)
    return dataclasses.replace(parameter, when=_parse_conditions(name, entry.get("when", {})))


def _parse_choices(name: str, entry: Mapping[str, Any]) -> Parameter:
    choices = entry["choices"]
    if extra := {"log", "step"} & entry.keys():
        raise ValueError(f"search_space's {name} must not have {' and '.join(sorted(extra))} beside choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError(f"search_space's {name} must have at least one choice, got {choices!r}")
    values = tuple(_check_value(name, value) for value in choices)
    if len(set(values)) < len(values):
        raise ValueError(f"search_space's {name} must have each choice once, got {choices!r}")
    return Parameter(name, choices=values)


def _parse_range(name: str, entry: Mapping[str, Any]) -> Parameter:
    kind = type(_fields()[name].default)
    if kind not in (int, float):
        raise ValueError(f"search_space's {name} must have choices, because it is not a number, got {dict(entry)!r}")
    if not {"low", "high"} <= entry.keys():
        raise ValueError(f"search_space's {name} must have both low and high, got {dict(entry)!r}")
    low, high = (kind(_check_value(name, entry[bound])) for bound in ("low", "high"))
    log, step = entry.get("log", False), entry.get("step", _default_step(name, kind, bool(entry.get("log"))))
    if not low < high:
        raise ValueError(f"search_space's {name} must have low below high, got {low} and {high}")
    if log not in (False, True) or (log and (low <= 0 or "step" in entry)):
        raise ValueError(f"search_space's {name} must have a positive low and no step if log is true, got {low}")
    if step is not None and (type(step) not in (int, kind) or not 0 < step <= high - low):
        raise ValueError(f"search_space's {name} must have a step from 0 to {high - low:g}, got {step!r}")
    if step:
        _check_value(name, low + step)
    return Parameter(name, low=low, high=high, is_integer=kind is int, log=log, step=step)


def _default_step(name: str, kind: type, log: bool) -> float | None:
    if name == "image_size":
        return SIZE_STEP
    return 1 if kind is int and not log else None


def _check_value(name: str, value: Any) -> Scalar:
    """Returns a value with the type of its setting; raises if the setting does not accept it."""
    holder, _, option = name.partition(".")
    kind = type(_fields()[name].default)
    if kind is float and isinstance(value, str):
        value = read_scalar(f"search_space's {name}", value, float)  # YAML 1.1 reads 1e-4 as text
    stages = [NESTED[holder][0]] if option else [stage for stage in STAGES if holder in stage.__dataclass_fields__]
    field = option or holder
    if field in UNCHECKED:
        if not isinstance(value, str):
            raise TypeError(f"search_space's {name} must be text, got {value!r}")
        return value
    known = field == "model_backbone" and value in list_backbones()
    defaults = {"model_cut_off": get_backbone(value).default_cut_off} if known else {}
    try:
        checked = [stage.of({field: value, **defaults}) for stage in stages]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"search_space's {name}: {error}") from error
    result: Scalar = getattr(checked[0], field)
    return result


def _parse_conditions(name: str, when: Any) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
    if not isinstance(when, dict):
        raise ValueError(f"search_space's {name} must have a condition `setting: value or values`, got {when!r}")
    listed = {_full_name(other): value if isinstance(value, list) else [value] for other, value in when.items()}
    return tuple((other, tuple(values)) for other, values in listed.items())


def _check_condition(name: str, other: str, allowed: Sequence[Scalar], parsed: Mapping[str, Parameter]) -> None:
    if other not in parsed or not parsed[other].choices:
        raise ValueError(f"search_space's {name} must depend on a setting with choices in the space, got {other}")
    if not allowed or not all(parsed[other].contains(value) for value in allowed):
        raise ValueError(
            f"search_space's {name} must depend on choices of {other}, "
            f"{', '.join(map(str, parsed[other].choices))}, got {', '.join(map(str, allowed))}"
        )
