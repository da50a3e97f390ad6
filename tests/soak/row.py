"""One line of the soak's table: what was done how often, and what went wrong."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """`wrong` tells what was not as it must be, a line each; `details` what else there is to tell, as JSON can hold it.

    `seed` is what was drawn with; None where nothing is drawn.
    """

    name: str
    done: int
    wrong: list[str]
    seed: int | None
    details: dict[str, Any]
