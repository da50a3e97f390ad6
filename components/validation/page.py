"""The data report as one HTML page that stands alone, in the manner of the evaluation report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from components.evaluate.plots import BLUE, GREY, SETTINGS, VERMILION, as_svg
from components.evaluate.report import environment
from components.validation.facts import DECADES, FILE
from components.validation.policy import Policy

LINES = {"train": (BLUE, "-"), "validation": (GREY, ":"), "test": (VERMILION, (0, (4, 1.5)))}


def write(shards: Path, path: Path) -> None:
    """Writes the page of a folder of shards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(json.loads((shards / FILE).read_text())), encoding="utf-8")


def render(facts: Mapping[str, Any]) -> str:
    """The page as HTML text; equal facts give equal text.

    Args:
        facts: as `facts.describe` gives them, with `labels`, `source`, `fingerprint`, `notes` and `converted`.
    """
    helps = {field.name: field.metadata["help"] for field in dataclasses.fields(Policy)}
    known_ages = sum(facts["splits"][split]["ages"][decade] for split in LINES for decade in DECADES)
    page = environment(Path(__file__).parent).get_template("page.html.j2")
    return page.render(data=facts, helps=helps, ages=ages_svg(facts["splits"]) if known_ages else "")


def ages_svg(splits: Mapping[str, Any]) -> str:
    """Share of each split's pictures by decade of age."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.4, 2.7))
        axes = figure.add_axes((0.07, 0.2, 0.92, 0.75))
        for split, (colour, dashes) in LINES.items():
            counts = [splits[split]["ages"][decade] for decade in DECADES]
            shares = [count / max(sum(counts), 1) for count in counts]
            axes.plot(range(len(DECADES)), shares, color=colour, linestyle=dashes, marker=".", label=split)
        axes.set_xticks(range(len(DECADES)), DECADES)
        axes.set_xlabel("age, years")
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
        return as_svg(figure)
