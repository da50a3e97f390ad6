"""One row of the soak table: the kind of load, its amount and the errors."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """The result of one soak test.

    Attributes:
        count: number of schedules, production changes or publishers.
        errors: one line per error.
        seed: random seed; None if nothing is random.
        details: further values, serializable as JSON.
    """

    name: str
    count: int
    errors: list[str]
    seed: int | None
    details: dict[str, Any]
