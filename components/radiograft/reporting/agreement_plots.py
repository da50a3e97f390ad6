"""Plots of predicted against true numbers, and of their differences after Bland and Altman (1986)."""

from __future__ import annotations

import io
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from radiograft.registry.result_types import TargetMetrics
from radiograft.reporting.plots import BLUE, GRAY, SETTINGS, VERMILION, as_svg

MAX_POINTS = 2000  # more would make the page large; they are spread evenly over the images
SIZE, AXES = (4.4, 3.8), (0.17, 0.14, 0.8, 0.83)  # inches; left, bottom, width, height


class Points(NamedTuple):
    """Truth and prediction of each image, (n,) each."""

    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]

    def thinned(self) -> Points:
        """Returns at most MAX_POINTS of the images."""
        chosen = np.unique(np.linspace(0, len(self.truth) - 1, min(MAX_POINTS, len(self.truth))).round().astype(int))
        return Points(self.truth[chosen], self.predicted[chosen])


def scatter_svg(points: Points, name: str) -> str:
    """Plots prediction against truth over the diagonal of perfect agreement."""
    with matplotlib.rc_context(SETTINGS):
        return as_svg(_scatter(points, name))


def scatter_pixels(points: Points, name: str) -> NDArray[np.uint8]:
    """Plots as `scatter_svg`; returns uint8 [height, width, 3]."""
    with matplotlib.rc_context(SETTINGS), io.BytesIO() as content:
        _scatter(points, name).savefig(content, format="png")
        with Image.open(content) as image:
            return np.asarray(image.convert("RGB"))


def _scatter(points: Points, name: str) -> Figure:
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes(AXES)
    shown = points.thinned()
    ends = [min(points.truth.min(), points.predicted.min()), max(points.truth.max(), points.predicted.max())]
    axes.plot(ends, ends, color=GRAY, linewidth=0.8)
    axes.plot(shown.truth, shown.predicted, color=BLUE, marker=".", linestyle="none", alpha=0.6, markersize=5)
    axes.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    return figure


def bland_altman_svg(points: Points, name: str, metrics: TargetMetrics) -> str:
    """Plots the difference of prediction and truth over their mean, with mean error and limits of agreement."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=SIZE)
        axes = figure.add_axes(AXES)
        shown = points.thinned()
        means, differences = (shown.truth + shown.predicted) / 2, shown.predicted - shown.truth
        axes.plot(means, differences, color=BLUE, marker=".", linestyle="none", alpha=0.6, markersize=5)
        axes.axhline(0, color=GRAY, linewidth=0.8)
        for key, dashes in (("mean_error", "-"), ("limit_low", (0, (4, 1.5))), ("limit_high", (0, (4, 1.5)))):
            estimate = metrics[key]  # type: ignore[literal-required]
            if estimate["value"] is not None:
                axes.axhline(estimate["value"], color=VERMILION, linestyle=dashes, linewidth=1.4)
            if estimate["low"] is not None:
                axes.axhspan(estimate["low"], estimate["high"], color=VERMILION, alpha=0.1, linewidth=0)
        axes.set(xlabel=f"mean of true and predicted {name}", ylabel="predicted minus true")
        return as_svg(figure)
