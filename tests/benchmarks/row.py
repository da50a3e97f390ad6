"""One row of the benchmark table: a figure of ours beside the plain way's, and the ratio that a floor is set for."""

from __future__ import annotations

import dataclasses
from typing import Self


@dataclasses.dataclass(frozen=True)
class Row:
    """`ours` and `theirs` in `unit`; `floor`, where one is set, and `higher_is_better` speak of `ratio`.

    `how` says what was measured, on what, and what was scaled.
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
        """How many times faster ours is, both in seconds."""
        return cls(name, ours, theirs, _ratio(name, theirs, ours), floor, True, "s", how)

    @classmethod
    def rate(cls, name: str, ours: float, theirs: float, *, floor: float | None, how: str) -> Self:
        """How many times as many images ours takes in a second."""
        return cls(name, ours, theirs, _ratio(name, ours, theirs), floor, True, "images/s", how)

    @classmethod
    def cost(cls, name: str, ours: float, theirs: float, *, floor: float, unit: str, how: str) -> Self:
        """How many times theirs ours costs; the floor is the most it may."""
        return cls(name, ours, theirs, _ratio(name, ours, theirs), floor, False, unit, how)

    @classmethod
    def share(cls, name: str, ours: float, theirs: float, *, unit: str, how: str) -> Self:
        """How much of theirs, a limit that no floor is set for, ours reaches."""
        return cls(name, ours, theirs, _ratio(name, ours, theirs), None, True, unit, how)

    def holds(self) -> bool | None:
        """Whether the ratio is on the right side of the floor; None where there is no floor."""
        if self.floor is None:
            return None
        return self.ratio >= self.floor if self.higher_is_better else self.ratio <= self.floor


def _ratio(name: str, above: float, below: float) -> float:
    if not (above > 0 and below > 0):
        raise ValueError(f"{name}: both figures must be above 0, got {above} and {below}")
    return above / below
