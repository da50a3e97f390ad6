"""One row of the table of faults: the kind of fault, its number and the losses."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """The faults of one kind.

    Attributes:
        faults: number of injected faults.
        survived: number of faults without a loss.
        losses: one line per loss or error.
        seed: random seed of the faults; None if they are not random.
        details: further values, serializable as JSON.
    """

    name: str
    faults: int
    survived: int
    losses: list[str]
    seed: int | None = None
    details: dict[str, Any] = dataclasses.field(default_factory=dict)
