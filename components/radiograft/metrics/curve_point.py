"""A point of the cut-off curve."""

from __future__ import annotations

from typing import TypedDict

from radiograft.metrics.bootstrap import Estimate


class CurvePoint(TypedDict):
    """A layer by its number from the input on; `auroc` is the mean over the labels that have both classes."""

    layer: str
    channels: int
    penalty: float
    auroc: Estimate
