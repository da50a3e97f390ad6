"""Columns of layers whose features are stored side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def side_by_side(layers: Sequence[str], widths: Sequence[int]) -> dict[str, tuple[slice, ...]]:
    """Returns the columns of layers that share none."""
    stops = np.cumsum(widths).tolist()
    return {name: (slice(stop - width, stop),) for name, width, stop in zip(layers, widths, stops, strict=True)}
