"""Renders the data report as a self-contained HTML page."""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from radiograft.config.data_policy import QUARANTINE, DataPolicy
from radiograft.data.quality.summary import DECADES, FILE, UNKNOWN
from radiograft.imaging.geometry import RGB
from radiograft.reporting.html import environment
from radiograft.reporting.plots import BLUE, GRAY, SETTINGS, VERMILION, as_svg

LINES = {"train": (BLUE, "-"), "validation": (GRAY, ":"), "test": (VERMILION, (0, (4, 1.5)))}


def write_data_report(shards: Path, path: Path) -> None:
    """Writes the data report of a folder of shards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_data_report(json.loads((shards / FILE).read_text())), encoding="utf-8")


def render_data_report(facts: Mapping[str, Any]) -> str:
    """Renders the data report as HTML; equal facts give equal text.

    Args:
        facts: the summary from `summarize_data`, with `labels`, `source`, `fingerprint`, `notes` and `converted`.
    """
    figures = _key_figures(facts)
    known_ages = sum(facts["splits"][split]["ages"][decade] for split in LINES for decade in DECADES)
    page = environment().get_template("data_report.html.j2")
    return page.render(
        data=facts,
        headline=_headline(figures),
        figures=figures,
        found=_count_defects(facts),
        files=describe_files(facts.get("files")),
        colors=describe_colors(facts),
        format="RGB" if facts.get("image_channels") == RGB else "grayscale",
        helps={field.name: field.metadata["help"] for field in dataclasses.fields(DataPolicy)},
        ages=ages_svg(facts["splits"]) if known_ages else "",
        decades=[name for name in (*DECADES, UNKNOWN) if any(facts["splits"][split]["ages"][name] for split in LINES)],
    )


def _key_figures(facts: Mapping[str, Any]) -> dict[str, int]:
    """Counts images and patients, and what was excluded: for a defect, or because the settings do not request it."""
    splits, excluded = facts["splits"].values(), facts["excluded"]
    return {
        "Images": sum(split["pictures"] for split in splits),
        "Patients": sum(split["patients"] for split in splits),
        "Excluded for defects": sum(group["count"] for group in excluded if group["defect"]),
        "Not requested": sum(group["count"] for group in excluded if not group["defect"]),
        "Quarantined": sum(group["count"] for group in excluded if group["policy"] == QUARANTINE),
        "Flagged but kept": sum(group["count"] for group in facts["suspects"]),
    }


def _headline(figures: Mapping[str, int]) -> str:
    usable = f"{figures['Images']:,} images from {figures['Patients']:,} patients are usable."
    defects, others = figures["Excluded for defects"], figures["Not requested"]
    excluded = (
        f"{defects + others:,} images, rows or boxes were excluded: {defects:,} for defects, {others:,} because they "
        "were not requested."
    )
    flagged = f"{figures['Flagged but kept']:,} images are flagged for review and kept."
    return " ".join(
        [
            usable,
            excluded if defects + others else "Nothing was excluded.",
            flagged if figures["Flagged but kept"] else "No image is flagged.",
        ]
    )


def describe_files(files: Mapping[str, Any] | None) -> str:
    """Returns what became of every file below the source, in numbers that add up; "" if it is a single file.

    Args:
        files: the numbers from `catalog.count_files`.
    """
    if not files:
        return ""
    ignored = ", ".join(f"{name}: {count:,}" for name, count in files["ignored"].items())
    parts = (
        ("images in use", files["used"]),
        ("set aside", files["set_aside"]),
        ("tables and texts", files["documents"]),
        ("archives, besides their members", files["archives"]),
        (f"ignored by name ({ignored})", sum(files["ignored"].values())),
    )
    listed = "; ".join(f"{name}: {count:,}" for name, count in parts if count)
    return f"Files below the source: {files['total']:,} ({listed})."


def describe_colors(facts: Mapping[str, Any]) -> str:
    """Returns whether the images are stored in gray or color, and why; "" if it was not recorded.

    Args:
        facts: the data summary with `image_channels` and `color`.

    Example:
        >>> counts = {"images": 9, "in_color": 8, "sampled": 4, "sampled_in_color": 3}
        >>> describe_colors({"image_channels": 3, "color": counts})
        'Stored as rgb, because 3 of 4 sampled images are in color. In color among the images in use: 8 of 9.'
    """
    counts = facts.get("color")
    if not counts:
        return ""
    reason = "as image_channels says"
    if counts["sampled"]:
        reason = f"because {counts['sampled_in_color']:,} of {counts['sampled']:,} sampled images are in color"
    kind = "rgb" if facts["image_channels"] == RGB else "gray"
    used = f"In color among the images in use: {counts['in_color']:,} of {counts['images']:,}."
    return f"Stored as {kind}, {reason}. {used}"


def _count_defects(facts: Mapping[str, Any]) -> collections.Counter[str]:
    """Counts the occurrences of each defect."""
    counts = collections.Counter[str]()
    for group in (*facts["excluded"], *facts["suspects"]):
        if group["defect"]:
            counts[group["defect"]] += group["count"]
    return counts


def ages_svg(splits: Mapping[str, Any]) -> str:
    """Plots the fraction of each split's images by decade of age."""
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(8.4, 2.7))
        axes = figure.add_axes((0.09, 0.2, 0.9, 0.75))
        for split, (color, dashes) in LINES.items():
            counts = [splits[split]["ages"][decade] for decade in DECADES]
            fractions = [count / max(sum(counts), 1) for count in counts]
            axes.plot(range(len(DECADES)), fractions, color=color, linestyle=dashes, marker=".", label=split)
        axes.set_xticks(range(len(DECADES)), [name.replace(" to ", "-").replace(" and more", "+") for name in DECADES])
        axes.set(xlabel="age (years)", ylabel="fraction of images")
        axes.set_ylim(bottom=0)
        axes.legend(loc="best")
        return as_svg(figure)
