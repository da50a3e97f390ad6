"""One point of the cut-off curve."""

from __future__ import annotations

from typing import TypedDict

from radiograft.metrics.bootstrap import Estimate


class CurvePoint(TypedDict):
    """Linear probe of one layer. `auroc` is the validation mean over the labels that have both classes."""

    layer: str
    channels: int
    penalty: float
    auroc: Estimate
