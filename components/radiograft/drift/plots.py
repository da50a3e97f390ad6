"""Plots of a drift comparison: the reference in solid blue, the new images in dashed vermilion."""

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
    """Returns one SVG per test, by test name. Scores are shown for the label that differs most."""
    drift, tests = comparison.drift, comparison.drift["tests"]
    plots = {name: shares_svg(shares) for name, shares in drift["shares"].items() if shares}
    if tests["score"]["value"] is not None:
        index = list(drift["labels"]).index(drift["label"])
        plots["score"] = cumulative_svg(reference.scores[:, index], new.scores[:, index], f"score for {drift['label']}")
    if tests["embedding"]["value"] is not None:
        plots["embedding"] = chance_svg(comparison.chance, tests["embedding"]["value"])
    if tests["age"]["value"] is not None:
        plots["age"] = cumulative_svg(reference.age, new.age, "age (years)")
    return {name: plots[name] for name in NAMES if name in plots}


def cumulative_svg(reference: np.ndarray, new: np.ndarray, quantity: str) -> str:
    """Plots the cumulative distribution in both samples; unknown values are omitted."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        for column, (color, dashes) in zip((reference, new), STYLES, strict=True):
            axes.ecdf(column[known_values(column)], color=color, linestyle=dashes)
        axes.set(xlabel=quantity, ylabel="fraction of images")
        return as_svg(figure)


def shares_svg(shares: Mapping[str, tuple[float, float]]) -> str:
    """Plots the fraction of each category in both samples."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        positions = np.arange(len(shares))
        for side, (color, (_, dashes)) in enumerate(zip((BLUE, VERMILION), STYLES, strict=True)):
            heights = [values[side] for values in shares.values()]
            bars = axes.bar(positions + 0.4 * side - 0.2, heights, 0.36, color=color if side == 0 else "white")
            for bar in bars:
                bar.set(edgecolor=color, linewidth=1.8, linestyle=dashes)
            axes.bar_label(bars, [f"{height:.0%}" for height in heights])
        axes.set_xticks(positions, list(shares))
        axes.set(ylabel="fraction of images", ylim=(0, 1.12))
        axes.grid(visible=False)
        return as_svg(figure)


def chance_svg(chance: np.ndarray, value: float) -> str:
    """Plots the observed distance (dashed) over the distances under random permutation of the patients."""
    with matplotlib.rc_context(SETTINGS):
        figure, axes = _axes()
        axes.hist(chance, bins=40, color=BLUE)
        axes.axvline(value, color=VERMILION, linestyle=STYLES[1][1])
        axes.set(xlabel="distance between embeddings", ylabel="permutations", xlim=(0, None))
        return as_svg(figure)


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes(INSIDE)
    axes.set_axisbelow(True)
    return figure, axes
