"""What a setting is: a typed dataclass field with unit, range and help, checked when the dataclass is made."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

Scalar = bool | int | float | str
ONE_LINE = re.compile(r"(?!\s)[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*(?<!\s)")

SETTINGS_FILE = "settings.json"


def setting(
    default: Scalar,
    help: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    required: bool = False,
) -> Any:
    """A dataclass field whose default, unit, inclusive range or choices and help stand together.

    A required one has an empty default that is refused.
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
        },
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x' or 'y'?` for the known names closest to `name`, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of the stages' settings: every field is a scalar and is checked against its own declaration."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Picks this stage's settings from a mapping that may hold more (a component's arguments)."""
        return cls(**{f.name: values[f.name] for f in dataclasses.fields(cls) if f.name in values})

    @classmethod
    def parse(cls, setting: str, text: str, presets: Mapping[str, Mapping[str, Scalar]]) -> Self:
        """Reads several settings from the text of one: a preset's name or `name=value,...`.

        Raises:
            ValueError: unknown preset or name (the nearest is given), a name twice or without a value, or a value out
                of range.
        """
        if text in presets:
            return cls(**presets[text])
        pairs = [part.partition("=") for part in text.split(",")]
        if not all(separator for _, separator, _ in pairs):
            raise ValueError(
                f"{setting} must be one of {', '.join(presets)} or name=value,..., got {text!r}"
                + did_you_mean(text, presets)
            )
        types = {field.name: type(field.default) for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, value in ((name.strip(), value.strip()) for name, _, value in pairs):
            if name not in types:
                raise ValueError(f"{setting} has no {name!r}{did_you_mean(name, types)}")
            if name in values or not value:
                raise ValueError(f"{setting} must give {name} once and with a value, got {text!r}")
            values[name] = read_scalar(f"{setting}'s {name}", value, types[name])
        return cls(**values)


def read_scalar(name: str, text: str, wanted: type[Any]) -> Scalar:
    """Reads a setting written as text; raises ValueError where it is not of the type wanted."""
    truth = {"true": True, "false": False}
    try:
        value: Scalar = truth[text.lower()] if wanted is bool else wanted(text)
    except (KeyError, ValueError):
        raise ValueError(f"{name} must be of type {wanted.__name__}, got {text!r}") from None
    return value


def _checked(field: dataclasses.Field[Any], value: Any) -> Any:
    wanted = type(field.default)
    if wanted is float and type(value) is int:
        _check_range(field, value)  # before: it may be more than a float holds
        value = float(value)
    if wanted is int and type(value) is float and value.is_integer():
        value = int(value)  # KFP hands an int parameter over as a float when the form held 32.0
    if type(value) is not wanted:
        raise TypeError(f"{field.name} must be of type {wanted.__name__}, got {value!r} ({type(value).__name__})")
    _check_range(field, value)
    if isinstance(value, str) and not ONE_LINE.fullmatch(value):
        raise ValueError(f"{field.name} must be one line without white space at its ends, got {value!r}")
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
    """Writes to the folder `output` this stage's settings and those that came with its input folders."""
    known = {name: value for folder in inputs for name, value in read_settings(folder).items()}
    record(output, {**known, **dataclasses.asdict(settings)})


def record(output: Path, settings: Mapping[str, Scalar]) -> None:
    """Writes settings by name to the folder `output`."""
    (output / SETTINGS_FILE).write_text(json.dumps(dict(sorted(settings.items())), indent=2))


def read_settings(folder: Path) -> dict[str, Scalar]:
    """Settings by name of all stages that led to this folder."""
    return dict(json.loads((folder / SETTINGS_FILE).read_text()))
