"""Ages in years from what tables and DICOM files hold."""

from __future__ import annotations

import math

import pytest

from radiograft.data.sources.base import age_in_years


@pytest.mark.parametrize(
    ("text", "expected"),
    [("57", 57.0), ("57.0", 57.0), (" 058Y ", 58.0), ("006M", 0.5), ("0120", 120.0), ("7305D", 20.0)],
)
def test_an_age_is_told_in_years(text: str, expected: float) -> None:
    assert age_in_years(text) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("text", ["", "Y", "57.5", "-3", "058y", "121", "2000Y", "9" * 400, "9" * 5000])
def test_what_is_no_age_is_unknown(text: str) -> None:
    """Fails where any number of digits is read: 400 are too many for a float, 5,000 for Python's int."""
    assert math.isnan(age_in_years(text))
