"""Turns a settings file and overrides into validated pipeline parameters."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from radiograft import storage
from radiograft.backbones import get_backbone, list_backbones
from radiograft.config import AUTO_CUT_OFF, all_settings, validate_settings
from radiograft.config.base import Scalar, check_uri, did_you_mean, read_scalar

PRESETS_FOLDER = Path(__file__).parent / "presets"
WHOLE, SEARCH = "transfer_learning", "cutoff_search"  # names of the pipelines
URI_SETTINGS = ("data_source", "publish_registry", "model_weights")
NOT_URIS = ("", "imagenet", "none")
MAX_FILE_SIZE = 2**16  # bytes


def load_settings_file(name: str) -> dict[str, Scalar]:
    """Reads settings from a YAML file.

    Args:
        name: Path of the file, or name of a preset such as `demo`. Setting names in the file may lack their prefix.

    Raises:
        FileNotFoundError: There is no such file or preset.
        ValueError: The file is not a YAML mapping, a setting is unknown or given twice, or text is given for a number.
    """
    presets = {path.stem: path for path in PRESETS_FOLDER.glob("*.yaml")}
    path = presets.get(name, Path(name))
    if not path.is_file():
        known = ", ".join(sorted(presets))
        raise FileNotFoundError(f"settings must be a file or one of {known}, got {name!r}{did_you_mean(name, presets)}")
    values: dict[str, Scalar] = {}
    for key, value in read_mapping(path).items():
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
        ValueError: The setting is unknown, or several settings have this short name.
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


def apply_overrides(values: Mapping[str, Scalar], assignments: Sequence[str]) -> dict[str, Scalar]:
    """Applies `name=value` assignments to settings.

    A new backbone also sets its default cut-off, unless a cut-off is assigned or the settings search for one.

    Raises:
        ValueError: An assignment lacks `=`, names an unknown setting, or has a value of the wrong type.
    """
    changes: dict[str, Scalar] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"--set must be name=value, got {assignment!r}")
        full = full_name(name.strip())
        changes[full] = read_scalar(full, text.strip(), type(all_settings()[full].default))
    backbone = changes.get("model_backbone")
    default = all_settings()["model_backbone"].default
    if backbone in list_backbones() and backbone != values.get("model_backbone", default):
        own = get_backbone(str(backbone)).default_cut_off
        changes.setdefault("model_cut_off", AUTO_CUT_OFF if values.get("model_cut_off") == AUTO_CUT_OFF else own)
    return {**values, **changes}


def for_search(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Returns the settings for the cut-off search, which tries all candidates unless several cut-offs are given."""
    several = "," in str(values.get("model_cut_off", ""))
    return {**values, "model_cut_off": values["model_cut_off"] if several else AUTO_CUT_OFF}


def values_for(
    pipeline: str, name: str, assignments: Sequence[str], defaults: Mapping[str, Scalar] | None = None
) -> dict[str, Scalar]:
    """Returns all parameters of a pipeline from a settings file and assignments.

    Args:
        pipeline: `transfer_learning` or `cutoff_search`.
        name: Path of a settings file, or name of a preset.
        assignments: Overrides as `name=value`.
        defaults: Defaults that differ from those of the settings.

    Raises:
        FileNotFoundError, ValueError, TypeError: As `load_settings_file`, `apply_overrides` and `fill_defaults`.
    """
    loaded = load_settings_file(name)
    values = apply_overrides(for_search(loaded) if pipeline == SEARCH else loaded, assignments)
    return fill_defaults({**(defaults or {}), **values})


def fill_defaults(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Fills in defaults, makes local paths absolute and validates the settings of all stages.

    The default cut-off depends on the backbone.

    Raises:
        ValueError, TypeError: A value is invalid.
    """
    full: dict[str, Any] = {name: field.default for name, field in all_settings().items()} | dict(values)
    if "model_cut_off" not in values:
        backbone = str(full["model_backbone"])
        full["model_cut_off"] = get_backbone(backbone).default_cut_off if backbone in list_backbones() else ""
    for name in URI_SETTINGS:
        if isinstance(full[name], str) and full[name] not in NOT_URIS:
            full[name] = absolute_uri(name, full[name])
    return validate_settings(full)


def absolute_uri(name: str, uri: str) -> str:
    """Returns a bucket URI unchanged, and a path as an absolute path with `~` expanded.

    Args:
        name: Name of the setting or option, for the error message.
        uri: Path, gs:// or s3:// URI.

    Raises:
        ValueError: As `check_uri`.
    """
    check_uri(name, uri)
    return uri if storage.is_bucket(uri) else str(Path(uri).expanduser().absolute())


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects duplicate keys, and aliases, with which ten lines can expand to a billion values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*) are not supported")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if duplicates := [name for name, count in collections.Counter(names).items() if count > 1]:
            raise yaml.YAMLError(f"{duplicates[0]!r} is given twice")
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Reads a mapping of names to values from a YAML file.

    Args:
        path: The file.
        may_be_empty: Whether an empty file is an empty mapping instead of an error.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file has more than MAX_FILE_SIZE bytes, is not a YAML mapping, or has an alias, a duplicate key
            or a tag that is not YAML's own.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise ValueError(f"{path} must have at most {MAX_FILE_SIZE:,} bytes")
    try:
        values = yaml.load(content.decode(), _Loader)  # noqa: S506  derived from SafeLoader
    except Exception as error:  # PyYAML's constructors raise many types
        raise ValueError(f"{path} must be YAML: {error}") from error
    if values is None and may_be_empty:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must be a mapping of `name: value`, got {type(values).__name__}")
    return {str(name): value for name, value in values.items()}
