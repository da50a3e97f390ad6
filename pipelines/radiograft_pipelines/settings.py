"""From a settings file and overrides to the values of the run form, every one checked before anything runs."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from radiograft import storage
from radiograft.backbones import get_backbone, list_backbones
from radiograft.config import AUTO_CUT_OFF, all_settings, validate_settings
from radiograft.config.base import Scalar, did_you_mean, read_scalar
from radiograft.config.shared import check_uri

PRESETS_FOLDER = Path(__file__).parent / "presets"
WHOLE, SEARCH = "transfer_learning", "cutoff_search"  # the pipelines
URI_SETTINGS = ("data_source", "publish_registry", "model_weights")
NOT_URIS = ("", "imagenet", "none")

MAX_FILE_SIZE = 2**16  # bytes; ours have 2,000


def load_settings_file(name: str) -> dict[str, Scalar]:
    """Reads a YAML file of run-form names, by path or by the name of one in pipelines/settings.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no YAML, not a mapping, a name that the run form does not have or that stands there twice, or text
            for a number.
    """
    named = {path.stem: path for path in PRESETS_FOLDER.glob("*.yaml")}
    path = named.get(name, Path(name))
    if not path.is_file():
        raise FileNotFoundError(
            f"settings must be a file or one of {', '.join(sorted(named))}, got {name!r}{did_you_mean(name, named)}"
        )
    values: dict[str, Scalar] = {}
    for key, value in read_mapping(path).items():
        full = full_name(key)
        if full in values:
            raise ValueError(f"{path} must give each setting once, got {full} a second time as {key!r}")
        values[full] = _number(full, value)
    return values


def _number(name: str, value: Any) -> Any:
    wanted = type(all_settings()[name].default)
    # YAML 1.1 takes 1e-4 for text
    return read_scalar(name, value, wanted) if wanted is float and isinstance(value, str) else value


def full_name(name: str) -> str:
    """The run form's name for `name`, which may lack its prefix where that is unambiguous: `source`, `backbone`.

    Raises:
        ValueError: no such setting; the nearest names are given.
    """
    names = list(all_settings())
    short = [full for full in names if full.partition("_")[2] == name]
    if name in names or len(short) == 1:
        return name if name in names else short[0]
    if short:
        raise ValueError(f"{name!r} could be {' or '.join(short)}; give the whole name")
    raise ValueError(
        f"there is no setting {name!r}{did_you_mean(name, [*names, *(n.partition('_')[2] for n in names)])}"
    )


def apply_overrides(values: Mapping[str, Scalar], assignments: Sequence[str]) -> dict[str, Scalar]:
    """Applies `name=value` assignments; a backbone that is changed brings its own cut-off unless one is assigned.

    Raises:
        ValueError: no `=`, an unknown name, or a value of another type.
    """
    given: dict[str, Scalar] = {}
    for assignment in assignments:
        name, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(f"--set must be name=value, got {assignment!r}")
        full = full_name(name.strip())
        given[full] = read_scalar(full, text.strip(), type(all_settings()[full].default))
    backbone = given.get("model_backbone")
    if backbone in list_backbones() and backbone != values.get(
        "model_backbone", all_settings()["model_backbone"].default
    ):
        own = (
            AUTO_CUT_OFF if values.get("model_cut_off") == AUTO_CUT_OFF else get_backbone(str(backbone)).default_cut_off
        )
        given.setdefault("model_cut_off", own)
    return {**values, **given}


def for_search(values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The same settings for the pipeline that searches a cut-off: where they name a single one, all are tried."""
    several = "," in str(values.get("model_cut_off", ""))
    return {**values, "model_cut_off": values["model_cut_off"] if several else AUTO_CUT_OFF}


def values_for(
    pipeline: str, name: str, assignments: Sequence[str], defaults: Mapping[str, Scalar] | None = None
) -> dict[str, Scalar]:
    """Every parameter of a pipeline from a settings file and assignments.

    Args:
        defaults: of settings that neither names, where they differ from the settings' own.

    Raises:
        FileNotFoundError, ValueError, TypeError: as in `load`, `override` and `complete`.
    """
    loaded = load_settings_file(name)
    given = apply_overrides(for_search(loaded) if pipeline == SEARCH else loaded, assignments)
    return fill_defaults({**(defaults or {}), **given})


def fill_defaults(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Every parameter of the run form, defaults filled in, local paths made absolute, all stages' checks passed.

    The default cut-off is that of the backbone.

    Raises:
        ValueError, TypeError: a value that a stage refuses.
    """
    full: dict[str, Any] = {name: field.default for name, field in all_settings().items()} | dict(values)
    if "model_cut_off" not in values:
        backbone = str(full["model_backbone"])
        full["model_cut_off"] = get_backbone(backbone).default_cut_off if backbone in list_backbones() else ""
    for name in URI_SETTINGS:
        if isinstance(full[name], str) and full[name] not in NOT_URIS:
            full[name] = absolute_uri(name, full[name])
    return validate_settings(full)


def absolute_uri(name: str, place: str) -> str:
    """A place that a user gave: a bucket as it is, a path made absolute, with the home folder for `~`.

    Args:
        name: of the setting or option, for the message.

    Raises:
        ValueError: as `check_place`.
    """
    check_uri(name, place)
    return place if storage.is_bucket(place) else str(Path(place).expanduser().absolute())


class _Loader(yaml.SafeLoader):
    """Without aliases, by which ten lines can stand for a billion values, and with each name once in its mapping."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*) are not read")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [name.value for name, _ in node.value if isinstance(name, yaml.ScalarNode)]
        if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
            raise yaml.YAMLError(f"{twice[0]!r} is given twice")
        return super().construct_mapping(node, deep)


def read_mapping(path: Path, *, may_be_empty: bool = False) -> dict[str, Any]:
    """Names and values.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: more than LARGEST bytes, no YAML, an alias, a name twice, a tag that is not YAML's own, or no
            mapping.
    """
    with path.open("rb") as file:
        content = file.read(MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise ValueError(f"{path} must have at most {MAX_FILE_SIZE:,} bytes")
    try:
        values = yaml.load(content.decode(), _Loader)  # noqa: S506  a SafeLoader
    except Exception as error:  # PyYAML's own constructors raise whatever they stumble over
        raise ValueError(f"{path} must be YAML: {error}") from error
    if values is None and may_be_empty:
        return {}
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold lines of `name: value`, got {type(values).__name__}")
    return {str(name): value for name, value in values.items()}
