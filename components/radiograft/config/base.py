"""Base class of the settings: dataclasses whose fields have a unit, range and help text and are validated."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from radiograft import storage
from radiograft.storage import dicomweb_uri
from radiograft.utils import json_io
from radiograft.utils.quoting import format_names, parse_names, split_pair, split_quoted

Scalar = bool | int | float | str
ONE_LINE = re.compile(r"(?!\s)[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*(?<!\s)")

AUTO = "auto"  # value of several settings
SETTINGS_FILE = "settings.json"
MAX_SEED = 2**32 - 1  # Keras's limit
SCHEME = re.compile(r"[A-Za-z][\w+.-]*:/")


def setting(
    default: Scalar,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    required: bool = False,
    names: bool = False,
) -> Any:
    """Defines a setting as a dataclass field with default, help text, unit and either inclusive range or choices.

    A required setting has an empty default, which is rejected. A setting of `names` accepts a list of texts, which is
    converted to one text, see `format_names`.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "unit": unit,
            "low": low,
            "high": high,
            "choices": choices,
            "required": required,
            "names": names,
        },
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns a hint that lists the known names closest to `name`, or an empty string if none is close.

    Example:
        >>> did_you_mean("imagesize", ["image_size", "data_labels"])
        "; did you mean 'image_size'?"
    """
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base class of a stage's settings. Every field is a scalar and is validated against its definition."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _validate(field, getattr(self, field.name)))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Creates the settings of this stage from a mapping, such as all settings; ignores other keys."""
        return cls(**{f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values})

    def to_json(self) -> str:
        """Returns the settings as one string, as the first task of a run hands them to a stage."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Creates the settings from what `to_json` returned."""
        return cls.of(json_io.parse_json_object(text.encode(), "settings"))

    def with_overrides(self, assignments: str) -> Self:
        """Returns a copy with `name=value,...` applied, as a trial of a search; an empty text changes nothing.

        Settings of other stages are ignored.

        Raises:
            ValueError, TypeError: a value is invalid.
        """
        pairs = [split_pair(part) for part in split_quoted(assignments)] if assignments else []
        own = {field.name: type(field.default) for field in dataclasses.fields(self)}
        values = {name: read_scalar(name, value, own[name]) for name, _, value in pairs if name in own}
        return dataclasses.replace(self, **values)

    @classmethod
    def parse(cls, setting: str, text: str, presets: Mapping[str, Mapping[str, Scalar]]) -> Self:
        """Parses a setting that holds several values: the name of a preset, or `name=value,...`.

        A value that contains a comma is put in quotes.

        Args:
            setting: name of the setting, for error messages.

        Raises:
            ValueError: a preset or name is unknown, a name is repeated or has no value, or a value is out of range.
        """
        if text in presets:
            return cls(**presets[text])
        pairs = [split_pair(part) for part in split_quoted(text)]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError(
                f"{setting} must be one of {', '.join(presets)} or name=value,..., got {text!r}"
                + did_you_mean(text, presets)
            )
        types = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, _, value in pairs:
            if name not in types:
                raise ValueError(f"{setting} has no {name!r}{did_you_mean(name, types)}")
            if name in values or not value:
                raise ValueError(f"{setting} must give {name} once, with a value, got {text!r}")
            values[name] = read_scalar(f"{setting}'s {name}", value, types[name])
        return cls(**values)


def read_scalar(name: str, text: str, scalar_type: type[Any]) -> Scalar:
    """Converts the text of a setting to bool, int, float or str.

    Raises:
        ValueError: the text does not represent a value of that type.
    """
    booleans = {"true": True, "false": False}
    try:
        value: Scalar = booleans[text.lower()] if scalar_type is bool else scalar_type(text)
    except (KeyError, ValueError):
        raise ValueError(f"{name} must be of type {scalar_type.__name__}, got {text!r}") from None
    return value


def parse_columns(name: str, text: str) -> tuple[str, ...]:
    """Parses a setting that names columns, separated by commas; an empty text names none.

    Raises:
        ValueError: a name is empty or given twice.
    """
    names = parse_names(text) if text else ()
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"{name} must name each column once, got {text!r}")
    return names


def _validate(field: dataclasses.Field[Any], value: Any) -> Any:
    """Returns the value, converted between int and float without loss; raises if it is invalid."""
    field_type = type(field.default)
    if field.metadata["names"] and isinstance(value, (list, tuple)) and all(type(name) in (str, int) for name in value):
        value = format_names(map(str, value))  # a YAML list
    if field_type is float and type(value) is int:
        _check_range(field, value)  # first, because float() overflows for huge integers
        value = float(value)
    if field_type is int and type(value) is float and value.is_integer():
        value = int(value)  # KFP passes an int parameter as a float if the form contains 32.0
    if type(value) is not field_type:
        raise TypeError(f"{field.name} must be of type {field_type.__name__}, got {value!r} ({type(value).__name__})")
    _check_range(field, value)
    if isinstance(value, str) and not ONE_LINE.fullmatch(value):
        raise ValueError(f"{field.name} must be one line without leading or trailing whitespace, got {value!r}")
    if field.metadata["required"] and not value:
        raise ValueError(f"{field.name} must be given ({field.metadata['help']}), got {value!r}")
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise ValueError(
            f"{field.name} must be one of {', '.join(choices)}, got {value!r}{did_you_mean(str(value), choices)}"
        )
    return value


def _check_range(field: dataclasses.Field[Any], value: Any) -> None:
    low, high, unit = (field.metadata[k] for k in ("low", "high", "unit"))
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{field.name} must be a finite number, got {value}")
    if low is not None and value < low:
        raise ValueError(f"{field.name} must be at least {low:.10g} {unit}".rstrip() + f", got {value}")
    if high is not None and value > high:
        raise ValueError(f"{field.name} must be at most {high:.10g} {unit}".rstrip() + f", got {value}")


def record_settings(output: Path, settings: Settings, *inputs: Path) -> None:
    """Writes the settings of this stage, and those recorded in its input folders, to the folder `output`."""
    known = {name: value for folder in inputs for name, value in read_settings(folder).items()}
    record(output, {**known, **dataclasses.asdict(settings)})


def record(output: Path, settings: Mapping[str, Scalar]) -> None:
    """Writes settings by name to settings.json in the folder `output`."""
    (output / SETTINGS_FILE).write_text(json.dumps(dict(sorted(settings.items())), indent=2))


def read_settings(folder: Path) -> dict[str, Scalar]:
    """Returns the settings recorded in a folder: those of all stages that contributed to it."""
    return dict(json.loads((folder / SETTINGS_FILE).read_text()))


def check_uri(name: str, uri: str) -> None:
    """Rejects URIs with an unsupported scheme, which would be mistaken for local paths.

    Args:
        name: name of the setting; only `data_source` may be a DICOMweb service.

    Raises:
        ValueError: the scheme is not supported (gs:/x included), the bucket is missing, or the URI of a DICOMweb
            service is invalid. A message about credentials does not repeat them.
    """
    if name == "data_source" and storage.is_dicomweb(uri):
        try:
            dicomweb_uri.parse_service(uri)
        except ValueError as error:
            raise ValueError(f"{name} must {error}") from None
        return
    bucket = uri.partition("://")[2].partition("/")[0] if storage.is_bucket(uri) else ""
    if SCHEME.match(uri) and not bucket:
        raise ValueError(f"{name} must be a path, gs://BUCKET/... or s3://BUCKET/..., got {uri!r}")


def check_http_url(name: str, url: str) -> None:
    """Rejects a URL that is not http:// or https:// with a host, or that contains credentials, a query or a fragment.

    Args:
        name: name of the setting, for the error message, which does not repeat credentials.

    Raises:
        ValueError: the URL is invalid.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # for a port or an IPv6 address
        raise ValueError(f"{name} must be http://HOST:PORT or https://HOST, got {url!r}") from None
    if parts.username is not None:
        raise ValueError(f"{name} must not contain a user name or password, because settings are logged: remove them")
    if not known or parts.query or parts.fragment:
        raise ValueError(f"{name} must be http://HOST:PORT or https://HOST, got {url!r}")


@dataclasses.dataclass(frozen=True)
class SeedSettings(Settings):
    """Random seed shared by all stages."""

    train_seed: int = setting(
        0, "Random seed of the splits, initial weights, shuffling and augmentation.", low=0, high=MAX_SEED
    )


@dataclasses.dataclass(frozen=True)
class GateSettings(Settings):
    """Minimum AUROC for promotion. Ingest has it too, to reject unknown labels before a run starts."""

    gate_min_auroc: str = setting(
        "0.5",
        "Minimum test AUROC for promotion, which the whole 95% interval must exceed: one for all labels, one for each "
        "label that counts, such as Pneumonia=0.8,Mass=0.7, or mean=0.8 for the mean over labels. Exclusive classes "
        "are each compared with the rest.",
    )


@dataclasses.dataclass(frozen=True)
class RegistrySettings(Settings):
    """Location of the model registry, and the model's name in it."""

    publish_registry: str = setting("", "Folder, gs:// or s3:// prefix of the model registry.", required=True)
    publish_model_name: str = setting("chest-radiograph", "Name of the model: its folder in the registry.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_uri("publish_registry", self.publish_registry)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", self.publish_model_name):
            raise ValueError(
                "publish_model_name must be 1 to 63 characters from A-Z a-z 0-9 _ - and start with a letter, "
                f"got {self.publish_model_name!r}"
            )
