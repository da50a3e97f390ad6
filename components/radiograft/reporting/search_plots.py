"""Plots of a hyperparameter search: the metric by trial, and all trials as parallel coordinates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from radiograft.registry.search_types import SearchTrial
from radiograft.reporting.plots import BLUE, GRAY, SETTINGS, VERMILION, as_svg

MISSING = -0.12  # height at which a trial without the parameter crosses its axis
LABELS = 5  # on an axis of numbers


def search_history_svg(trials: Sequence[SearchTrial], metric: str, mode: str) -> str:
    """Plots the metric of each trial and the best so far; trials that were stopped early are hollow."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(6.6, 2.9))
        axes = figure.add_axes((0.12, 0.16, 0.86, 0.81))
        for state, face in (("complete", BLUE), ("pruned", "white")):
            shown = [(trial["number"], trial["metric"]) for trial in trials if trial["state"] == state]
            if shown:
                numbers, values = zip(*shown, strict=True)
                label = "all epochs" if state == "complete" else "stopped early"
                axes.plot(numbers, values, "o", color=BLUE, markerfacecolor=face, markersize=4, label=label)
        complete = [(trial["number"], trial["metric"]) for trial in trials if trial["state"] == "complete"]
        if complete:
            numbers, values = zip(*complete, strict=True)
            best = itertools.accumulate(values, max if mode == "max" else min)
            axes.step(numbers, list(best), color=VERMILION, where="post", linewidth=1.2, label="best so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="trial", ylabel=metric)
        axes.legend(loc="lower right")
        return as_svg(figure)


def parallel_coordinates_svg(trials: Sequence[SearchTrial], metric: str, mode: str) -> str:
    """Plots every trial that was not stopped as a line through the values of its parameters and its metric.

    Better trials are darker. A trial without a parameter, because its condition is not met, passes below the axis.
    """
    complete = [trial for trial in trials if trial["state"] == "complete" and trial["metric"] is not None]
    names = list(dict.fromkeys(name for trial in complete for name in trial["values"]))
    with matplotlib.rc_context({**SETTINGS, "axes.grid": False}):
        figure = Figure(figsize=(max(6.6, 1.3 * (len(names) + 1)), 3.6))
        axes = figure.add_axes((0.03, 0.26, 0.9, 0.7))
        columns = [[trial["values"].get(name) for trial in complete] for name in names]
        columns.append([trial["metric"] for trial in complete])
        heights = np.array([_draw_axis(axes, place, column) for place, column in enumerate(columns)])
        quality = heights[-1] if mode == "max" else 1 - heights[-1]
        lines = [np.column_stack([range(len(columns)), heights[:, number]]) for number in np.argsort(quality)]
        shades = matplotlib.colormaps["Blues"](0.25 + 0.75 * np.sort(quality))
        axes.add_collection(LineCollection(lines, colors=shades, linewidths=1.2))
        axes.set_xticks(range(len(columns)), [*names, metric], rotation=20, ha="right", fontsize=8)
        axes.set(xlim=(-0.2, len(columns) - 0.6), ylim=(-0.17, 1.06))
        axes.set_yticks([])
        axes.spines[["left", "bottom"]].set_visible(False)
        return as_svg(figure)


def _draw_axis(axes: Any, place: int, values: Sequence[Any]) -> list[float]:
    """Draws the axis of a parameter and returns the height of each value, 0 to 1."""
    axes.axvline(place, 0.13, 0.96, color=GRAY, linewidth=0.8)
    known = [value for value in values if value is not None]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in known):
        low, high = min(known), max(known)
        is_log = low > 0 and high / low > 100
        scale = np.log10 if is_log else np.float64
        span = (scale(high) - scale(low)) or 1.0
        ticks = np.logspace(np.log10(low), np.log10(high), LABELS) if is_log else np.linspace(low, high, LABELS)
        positions = [(float((scale(tick) - scale(low)) / span), f"{tick:.3g}") for tick in ticks]
        heights = [MISSING if value is None else float((scale(value) - scale(low)) / span) for value in values]
    else:
        choices = sorted(set(map(str, known)))
        steps = np.linspace(0, 1, len(choices)) if len(choices) > 1 else np.array([0.5])
        by_choice = dict(zip(choices, map(float, steps), strict=True))
        positions = [(height, choice) for choice, height in by_choice.items()]
        heights = [MISSING if value is None else by_choice[str(value)] for value in values]
    for height, text in positions:
        axes.annotate(text, (place, height), (3, 0), textcoords="offset points", va="center", fontsize=7)
    return heights
