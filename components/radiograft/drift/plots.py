"""Plots of a comparison: the reference in blue, the new images dashed in vermilion."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radiograft.drift.comparison import NAMES, DriftComparison, known_values
from radiograft.drift.reference import ReferenceSample
from radiograft.reporting.plots import BLUE, SETTINGS, STYLES, VERMILION, as_svg

SIZE, INSIDE = (4.0, 2.4), (0.16, 0.2, 0.81, 0.74)  # inches; left, bottom, width, height


def drift_plots(comparison: DriftComparison, reference: ReferenceSample, new: ReferenceSample) -> dict[str, str]:
    """SVG by the name of the test that it shows; of the labels' scores, those that differ most."""
    drift, tests = comparison.drift, comparison.drift["tests"]
    found = {name: shares_svg(shares) for name, shares in drift["shares"].items() if shares}
    if tests["score"]["value"] is not None:
        number = list(drift["labels"]).index(drift["label"])
        found["score"] = cumulative_svg(
            reference.scores[:, number], new.scores[:, number], f"score of {drift['label']}"
        )
    if tests["embedding"]["value"] is not None:
        found["embedding"] = chance_svg(comparison.chance, tests["embedding"]["value"])
    if tests["age"]["value"] is not None:
        found["age"] = cumulative_svg(reference.age, new.age, "age in years")
    return {name: found[name] for name in NAMES if name in found}


def cumulative_svg(reference: np.ndarray, new: np.ndarray, quantity: str) -> str:
    """Share of the images up to each value; unknown values are left out."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        for column, (color, dashes) in zip((reference, new), STYLES, strict=True):
            axes.ecdf(column[known_values(column)], color=color, linestyle=dashes)
        axes.set(xlabel=quantity, ylabel="share of images")
        return as_svg(figure)


def shares_svg(shares: Mapping[str, tuple[float, float]]) -> str:
    """Share of each category on both sides."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        places = np.arange(len(shares))
        for side, (color, (_, dashes)) in enumerate(zip((BLUE, VERMILION), STYLES, strict=True)):
            heights = [values[side] for values in shares.values()]
            bars = axes.bar(places + 0.4 * side - 0.2, heights, 0.36, color=color if side == 0 else "white")
            for bar in bars:
                bar.set(edgecolor=color, linewidth=1.8, linestyle=dashes)
            axes.bar_label(bars, [f"{height:.0%}" for height in heights])
        axes.set_xticks(places, list(shares))
        axes.set(ylabel="share of images", ylim=(0, 1.12))
        axes.grid(visible=False)
        return as_svg(figure)


def chance_svg(chance: np.ndarray, value: float) -> str:
    """The distance that was found, dashed, over those of random divisions of the same patients."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        axes.hist(chance, bins=40, color=BLUE)
        axes.axvline(value, color=VERMILION, linestyle=STYLES[1][1])
        axes.set(xlabel="distance of the embeddings", ylabel="random divisions", xlim=(0, None))
        return as_svg(figure)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes(INSIDE)
    axes.set_axisbelow(True)
    return figure, axes
