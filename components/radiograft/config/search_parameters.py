"""The parameters of a hyperparameter search, and their values as settings."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping

from radiograft.config.augmentation import AUGMENTATIONS, Augmentation
from radiograft.config.base import Scalar, Settings
from radiograft.config.training import RECIPES, Recipe

# Settings that hold several values, each of which may be a parameter.
NESTED: dict[str, tuple[type[Settings], Mapping[str, Mapping[str, Scalar]]]] = {
    "image_augmentation": (Augmentation, AUGMENTATIONS),
    "train_recipe": (Recipe, RECIPES),
}
MAX_GRID = 10_000


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A setting that is searched: choices, or an inclusive range.

    Attributes:
        name: full name of the setting; for an option of a setting that holds several, `setting.option`.
        choices: values to choose from; empty for a range.
        low, high: bounds of the range.
        is_integer: whether the values of the range are integers.
        log: whether the range is searched on a logarithmic scale.
        step: distance between values of the range; None if they are continuous, or integers on a logarithmic scale.
        when: the parameter is searched only if each of these other parameters has one of the values.
    """

    name: str
    choices: tuple[Scalar, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_integer: bool = False
    log: bool = False
    step: float | None = None
    when: tuple[tuple[str, tuple[Scalar, ...]], ...] = ()

    def is_active(self, values: Mapping[str, Scalar]) -> bool:
        """Returns whether the parameter is searched, given the values of the parameters before it."""
        return all(name in values and values[name] in allowed for name, allowed in self.when)

    def contains(self, value: Scalar) -> bool:
        """Returns whether the value is a choice, or lies in the range on one of its steps."""
        if self.choices:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, str) or not self.low <= value <= self.high:
            return False
        return not self.step or math.isclose(remainder := (value - self.low) / self.step, round(remainder))


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """Parameters by name, each after those on which its condition depends."""

    parameters: Mapping[str, Parameter]

    def grid(self) -> list[dict[str, Scalar]] | None:
        """Returns all combinations if every parameter has choices and there are at most MAX_GRID; else None."""
        sizes = [len(parameter.choices) for parameter in self.parameters.values()]
        if not all(sizes) or math.prod(sizes) > MAX_GRID:
            return None
        combinations = dict.fromkeys(tuple(self._active(values).items()) for values in self._products())
        return [dict(values) for values in combinations]

    def _products(self) -> Iterator[dict[str, Scalar]]:
        choices = (parameter.choices for parameter in self.parameters.values())
        return (dict(zip(self.parameters, values, strict=True)) for values in itertools.product(*choices))

    def _active(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        kept: dict[str, Scalar] = {}
        for name, parameter in self.parameters.items():
            if parameter.is_active(kept):
                kept[name] = values[name]
        return kept

    def of(self, settings: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """Returns the values that the settings have for the active parameters; None if one is not in the space."""
        values: dict[str, Scalar] = {}
        for name, parameter in self.parameters.items():
            if parameter.is_active(values):
                values[name] = _value_in(settings, name)
                if not parameter.contains(values[name]):
                    return None
        return values


def to_assignments(settings: Mapping[str, Scalar], values: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Returns the values of a trial as settings: options are merged into the setting that holds them.

    Args:
        settings: the settings of the search.
        values: values by the name of their parameter.

    Example:
        >>> to_assignments({"train_recipe": "poster"}, {"train_recipe.ema": 0.9, "model_l2": 0.1})
        {'model_l2': 0.1, 'train_recipe': 'ema=0.9'}
    """
    whole = {name: value for name, value in values.items() if "." not in name}
    for holder, (kind, presets) in NESTED.items():
        options = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{holder}.")}
        if options:
            parsed = dataclasses.replace(kind.parse(holder, str(settings[holder]), presets), **options)
            whole[holder] = _format_options(parsed, presets)
    return whole


def _format_options(parsed: Settings, presets: Mapping[str, Mapping[str, Scalar]]) -> str:
    """Returns the text of a setting that holds several values; the empty preset if all have their defaults."""
    changed = {
        field.name: value
        for field in dataclasses.fields(parsed)
        if (value := getattr(parsed, field.name)) != field.default
    }
    parts = [f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in changed.items()]
    return ",".join(parts) or next(name for name, values in presets.items() if not values)


def _value_in(settings: Mapping[str, Scalar], name: str) -> Scalar:
    holder, _, option = name.partition(".")
    if not option:
        return settings[holder]
    kind, presets = NESTED[holder]
    value: Scalar = getattr(kind.parse(holder, str(settings[holder]), presets), option)
    return value
