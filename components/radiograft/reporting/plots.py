"""Plots of the reports as SVG: small, without scripts or external references, and deterministic."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType
from numpy.typing import NDArray
from PIL import Image

from radiograft.registry.result_types import Estimate
from radiograft.registry.training_types import CURVE_TITLES, CurvePoint, ReducedCurvePoint, Trial, curve_metric
from radiograft.training.search.results import best_trial, trials_monitor

# Okabe and Ito's blue and vermilion, distinguishable with any color vision. Dashes distinguish them in print.
BLUE, VERMILION, GRAY = "#0072B2", "#D55E00", "#767676"
STYLES = ((BLUE, "-"), (VERMILION, (0, (4, 1.5))))
# Of many curves, each has one of Okabe and Ito's colors in a solid, dashed or dotted line.
MANY_STYLES = tuple(
    (color, dashes)
    for dashes in ("-", (0, (4, 1.5)), (0, (1, 1.5)))
    for color in (BLUE, VERMILION, "#009E73", "#CC79A7", "#56B4E9", "#000000")
)
REDUCTION_STYLES = (("#009E73", "--"), ("#CC79A7", "-."), ("#E69F00", ":"))

SQUARE, SQUARE_AXES = (3.8, 3.8), (0.17, 0.14, 0.81, 0.84)  # inches; left, bottom, width, height

SETTINGS: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "radiograft",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": GRAY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "xtick.labelcolor": "#444444",
    "ytick.labelcolor": "#444444",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}

MAX_NAME = 16  # characters of a class beside a confusion matrix

Curve = tuple[Sequence[float], Sequence[float]]


def training_svg(history: Sequence[Mapping[str, float]], quantity: str) -> str:
    """Plots one quantity by epoch for training and validation.

    Args:
        history: one mapping per epoch, with `epoch`, `quantity` and `val_` + `quantity`.
        quantity: `accuracy` or `loss`.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(3.5, 2.5))
        axes = figure.add_axes((0.18, 0.19, 0.79, 0.77))
        epochs = [row["epoch"] for row in history]
        series = (("validation", f"val_{quantity}"), ("training", quantity))
        for (name, key), (color, dashes) in zip(series, STYLES, strict=True):
            axes.plot(epochs, [row[key] for row in history], color=color, linestyle=dashes, marker=".", label=name)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set(xlabel="epoch", ylabel=quantity)
        axes.legend(loc="best")
        return as_svg(figure)


def roc_svg(curves: Sequence[Curve]) -> str:
    """Plots the ROC curves of one label over the chance diagonal, in the order of STYLES.

    Args:
        curves: at most two pairs (false positive rates, true positive rates), each 0 to 1.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=SQUARE)
        axes = figure.add_axes(SQUARE_AXES)
        axes.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8)
        for (false_positive_rate, true_positive_rate), (color, dashes) in zip(curves, STYLES, strict=False):
            axes.plot(false_positive_rate, true_positive_rate, color=color, linestyle=dashes)
        _format_unit_square(axes, "false positive rate", "true positive rate")
        return as_svg(figure)


def reliability_svg(before: Curve, after: Curve) -> str:
    """Plots the observed frequency by score before and after scaling, over the diagonal of perfect calibration.

    Args:
        before, after: (mean scores, observed frequencies) by bin, each 0 to 1.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=SQUARE)
        axes = figure.add_axes(SQUARE_AXES)
        axes.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8)
        for (predicted, observed), (color, dashes) in zip((before, after), STYLES, strict=True):
            axes.plot(predicted, observed, color=color, linestyle=dashes, marker=".")
        _format_unit_square(axes, "score", "observed frequency")
        return as_svg(figure)


def confusion_svg(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Plots a confusion matrix: each cell has its number of images, and a color by its share of the row.

    Args:
        names: the classes.
        counts: images by true class (rows) and predicted class (columns).
    """
    with matplotlib.rc_context(SETTINGS):
        return as_svg(_confusion_figure(names, counts))


def confusion_pixels(names: Sequence[str], counts: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """Plots a confusion matrix as `confusion_svg`; returns uint8 [height, width, 3]."""
    with io.BytesIO() as content:
        _confusion_figure(names, counts).savefig(content, format="png")
        with Image.open(content) as image:
            return np.asarray(image.convert("RGB"))


def _confusion_figure(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    matrix = np.asarray(counts, np.float64)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with matplotlib.rc_context({**SETTINGS, "axes.grid": False}):
        shown = [_shorten(name) for name in names]
        side, longest = max(2.2, 0.5 * len(names)), max(map(len, shown))
        left, below = 0.55 + 0.085 * longest, 0.6 + 0.06 * longest  # inches
        width, height = left + side + 0.1, below + side + 0.1
        figure = Figure(figsize=(width, height))
        axes = figure.add_axes((left / width, below / height, side / width, side / height))
        axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("shares", ["#ffffff", BLUE]), vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(matrix):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,.0f}", ha="center", va="center", color=color, fontsize=9)
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), shown)
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.tick_params(length=0)
        return figure


def _shorten(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"


def best_layers(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Returns the layers with an estimable metric, the best first; among equals the deepest first, as in `auto`."""
    metric = curve_metric(points)
    estimated = [point for point in reversed(points) if point[metric]["value"] is not None]
    return sorted(estimated, key=lambda point: -(point[metric]["value"] or 0))


def curve_svg(points: Sequence[CurvePoint], reduced: Sequence[ReducedCurvePoint] = ()) -> str:
    """Plots the AUROC, or R², by layer with its interval as a band; the best layer is marked.

    Args:
        points: the cut-off curve; at least one point has an estimable metric.
        reduced: the same layers after dimensionality reductions, each method a line without a band.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.6, 2.9))
        axes = figure.add_axes((0.1, 0.16, 0.88, 0.81))
        numbers = range(1, len(points) + 1)
        metric = curve_metric(points)
        bounds = [[point[metric]["low"], point[metric]["value"], point[metric]["high"]] for point in points]
        low, value, high = np.array(bounds, dtype="float64").T  # None becomes NaN, which is not drawn
        axes.fill_between(numbers, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(numbers, value, color=BLUE, marker=".", label="all channels")
        _plot_reductions(axes, reduced)
        best = best_layers(points)[0]
        index = points.index(best)
        axes.plot(index + 1, value[index], color=VERMILION, marker="o")
        side = "left" if index < len(points) / 4 else "right" if index >= 3 * len(points) / 4 else "center"
        axes.annotate(best["layer"], (index + 1, value[index]), (0, 7), textcoords="offset points", ha=side)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="layer (from input to output)", ylabel=f"validation {CURVE_TITLES[metric]}")
        axes.margins(y=0.15)
        return as_svg(figure)


def compared_curves_svg(curves: Mapping[str, Sequence[float]]) -> str:
    """Plots the cut-off curves of several networks over each other.

    Args:
        curves: AUROC by layer, from input to output, of each network, whose name the legend shows.
    """
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.4, 3.4))
        axes = figure.add_axes((0.08, 0.15, 0.66, 0.82))
        for (name, values), (color, dashes) in zip(curves.items(), itertools.cycle(MANY_STYLES), strict=False):
            axes.plot(np.linspace(0, 1, len(values)), values, color=color, linestyle=dashes, marker=".", label=name)
        axes.set(xlabel="depth of the layer (0 input, 1 output)", ylabel="validation AUROC")
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return as_svg(figure)


def _plot_reductions(axes: Axes, reduced: Sequence[ReducedCurvePoint]) -> None:
    """Adds a line for each method, and a legend if there is any."""
    methods, metric = dict.fromkeys(point["method"] for point in reduced), curve_metric(reduced)
    for method, (color, dashes) in zip(methods, REDUCTION_STYLES, strict=False):
        values = [point[metric]["value"] for point in reduced if point["method"] == method]
        numbers = range(1, len(values) + 1)
        series = np.array(values, dtype="float64")  # None becomes NaN, which is not drawn
        axes.plot(numbers, series, color=color, linestyle=dashes, linewidth=1.2, label=method.upper())
    if methods:
        axes.legend(loc="lower right")


def robustness_svg(severities: Sequence[int], estimates: Sequence[Estimate]) -> str:
    """Plots the AUROC by severity of the corruptions, with its interval as a band. Severity 0 is without corruption."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.6, 2.9))
        axes = figure.add_axes((0.1, 0.16, 0.88, 0.81))
        bounds = [[estimate["low"], estimate["value"], estimate["high"]] for estimate in estimates]
        low, value, high = np.array(bounds, dtype="float64").T  # None becomes NaN, which is not drawn
        axes.fill_between(severities, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(severities, value, color=BLUE, marker=".")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="severity of the corruptions", ylabel="AUROC")
        axes.margins(y=0.15)
        return as_svg(figure)


def search_svg(table: Sequence[Trial]) -> str:
    """Plots the monitored metric after fine-tuning from each cut-off, from input to output; the best is marked."""
    monitor = trials_monitor(table)
    with matplotlib.rc_context(SETTINGS):
        height = 0.9 + 0.24 * len(table)
        figure = Figure(figsize=(8.4, height))
        axes = figure.add_axes((0.24, 0.5 / height, 0.73, 1 - 0.6 / height))
        for index, trial in enumerate(table):
            color, marker = (VERMILION, "D") if trial is best_trial(table) else (BLUE, "o")
            axes.plot(trial["metrics"][monitor.metric], index, color=color, marker=marker)
        axes.set_yticks(range(len(table)), [str(trial["overrides"]["model_cut_off"]) for trial in table])
        axes.invert_yaxis()
        axes.set_xlabel(f"validation {monitor.title}")
        axes.margins(x=0.08)
        return as_svg(figure)


def _format_unit_square(axes: Axes, x: str, y: str) -> None:
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", xlabel=x, ylabel=y)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def as_svg(figure: Figure) -> str:
    """Returns the figure as SVG text; equal figures give equal text."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return text.getvalue()
