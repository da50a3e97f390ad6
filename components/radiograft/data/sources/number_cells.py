"""Parses columns of numbers, the targets of `data_task=regression`. No cell is quoted in a message."""

from __future__ import annotations

import math

import pandas as pd

from radiograft.data.sources.label_cells import as_number
from radiograft.utils.quoting import unquote
from radiograft.utils.spelling import is_unknown


def number_column(name: str, cells: pd.Series[str]) -> pd.Series[float]:
    """Returns a column of numbers, NaN for empty cells and words for unknown.

    Args:
        name: Name of the column, for messages.
        cells: Text, such as `57`, `1.5`, `1,5` or `n/a`.

    Raises:
        ValueError: A cell holds another text or an infinite number.

    Example:
        >>> number_column("age", pd.Series(["57", "1,5", "n/a", ""])).tolist()
        [57.0, 1.5, nan, nan]
    """
    distinct = {text: unquote(text.strip()) for text in cells.fillna("").unique()}
    values = {text: float("nan") if is_unknown(word) else as_number(word) for text, word in distinct.items()}
    others = [text for text, value in values.items() if value is None or math.isinf(value)]
    if others:
        raise ValueError(
            f"{name} must hold numbers or words for unknown with data_task=regression, got {len(others):,} other texts "
            f"in {int(cells.fillna('').isin(others).sum()):,} cells: correct them, or leave them empty"
        )
    return cells.fillna("").map(values).astype("float64")
