"""Ages in years from the text in tables and DICOM files."""

from __future__ import annotations

import math

import pytest

from radiograft.data.sources.base import age_in_years


@pytest.mark.parametrize(
    ("text", "expected"),
    [("57", 57.0), ("57.0", 57.0), (" 058Y ", 58.0), ("006M", 0.5), ("0120", 120.0), ("7305D", 20.0)],
)
def test_age_in_years_valid_text_returns_years(text: str, expected: float) -> None:
    assert age_in_years(text) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("text", ["", "Y", "57.5", "-3", "058y", "121", "2000Y", "9" * 400, "9" * 5000])
def test_age_in_years_malformed_text_returns_nan(text: str) -> None:
    """Fails if the number of digits is unbounded: 400 overflow a float, 5,000 exceed the limit of Python's int."""
    assert math.isnan(age_in_years(text))
