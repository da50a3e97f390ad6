"""One line of the table of faults: what was done to the system, how often, and what it lost."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """Faults of one kind.

    Attributes:
        faults: how many were injected.
        survived: how many the system came through with nothing lost.
        losses: what was lost or wrong, a line each.
        seed: what the faults were drawn with; None where none are drawn.
        details: what else there is to tell, as JSON can hold it.
    """

    name: str
    faults: int
    survived: int
    losses: list[str]
    seed: int | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
