"""Soft labels: the share of readers who see a label, and the class that it counts as."""

from __future__ import annotations

from typing import TypeVar

import pandas as pd

PandasT = TypeVar("PandasT", "pd.Series[float]", pd.DataFrame)

TIE = 0.5  # half of the readers see the label


def majority_class(labels: PandasT) -> PandasT:
    """Returns the class of each label: 1.0 if more than half of the readers see it, 0.0 if less, NaN for a tie.

    This is where a soft label becomes a class. Only training uses the share itself.

    Args:
        labels: 0 to 1, NaN where unknown.

    Example:
        >>> majority_class(pd.Series([0.0, 1 / 3, 0.5, 1.0])).tolist()
        [0.0, 0.0, nan, 1.0]
    """
    return labels.gt(TIE).astype("float64").mask(labels.isna() | labels.eq(TIE))
