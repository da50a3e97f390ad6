"""Ages as data sets and DICOM write them."""

from __future__ import annotations

import re

OLDEST = 120.0
YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def years(age: str) -> float:
    """Age in years from `57`, `57.0`, `058Y`, `011M`, `003W` or `003D`; NaN where it is unreadable or above 120."""
    match = re.fullmatch(r"(\d{1,4})(?:\.0)?([YMWD]?)", age.strip())
    if not match:
        return float("nan")
    value = int(match[1]) * YEARS[match[2]]
    return value if value <= OLDEST else float("nan")
