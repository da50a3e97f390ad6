"""A row of the benchmark table: the values of Radiograft and of the baseline, and their ratio."""

from __future__ import annotations

import dataclasses
from typing import Self


@dataclasses.dataclass(frozen=True)
class Row:
    """`ours` and `theirs` in `unit`. `floor`, if not None, and `higher_is_better` refer to `ratio`.

    `how` describes the measurement: what was run, on which data, and what was extrapolated.
    """

    name: str
    ours: float
    theirs: float
    ratio: float
    floor: float | None
    higher_is_better: bool
    unit: str
    how: str

    @classmethod
    def speedup(cls, name: str, ours: float, theirs: float, *, floor: float | None, how: str) -> Self:
        """Compares seconds: the ratio is theirs / ours."""
        return cls(name, ours, theirs, _ratio(name, theirs, ours), floor, True, "s", how)

    @classmethod
    def rate(cls, name: str, ours: float, theirs: float, *, floor: float | None, how: str) -> Self:
        """Compares images per second: the ratio is ours / theirs."""
        return cls(name, ours, theirs, _ratio(name, ours, theirs), floor, True, "images/s", how)

    @classmethod
    def cost(cls, name: str, ours: float, theirs: float, *, floor: float, unit: str, how: str) -> Self:
        """Compares costs: the ratio is ours / theirs, and the floor is its maximum."""
        return cls(name, ours, theirs, _ratio(name, ours, theirs), floor, False, unit, how)

    @classmethod
    def share(cls, name: str, ours: float, theirs: float, *, unit: str, how: str) -> Self:
        """Compares with an upper bound: the ratio is ours / theirs, without a floor."""
        return cls(name, ours, theirs, _ratio(name, ours, theirs), None, True, unit, how)

    def holds(self) -> bool | None:
        """Returns whether the ratio meets the floor, or None without a floor."""
        if self.floor is None:
            return None
        return self.ratio >= self.floor if self.higher_is_better else self.ratio <= self.floor


def _ratio(name: str, numerator: float, denominator: float) -> float:
    if not (numerator > 0 and denominator > 0):
        raise ValueError(f"{name}: both values must be above 0, got {numerator} and {denominator}")
    return numerator / denominator
