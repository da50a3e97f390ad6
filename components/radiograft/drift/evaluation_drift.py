"""Compares the test split with the development data, and stores a reference sample for drift monitoring."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import matplotlib
import numpy as np
import pandas as pd
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radiograft.data.shards.dataset import Shards
from radiograft.drift.comparison import (
    NAMES,
    NOT_COMPARED,
    DriftComparison,
    compare_samples,
    describe_shift,
    describe_untested,
    drift_outcome,
    known_values,
)
from radiograft.drift.image_ranges import measure_ranges
from radiograft.drift.reference import (
    BATCH_SIZE,
    REFERENCE,
    EmbeddingModel,
    ReferenceSample,
    describe_rows,
    draw_sample,
    further_names,
)
from radiograft.drift.two_sample_tests import PERMUTATIONS
from radiograft.models.spec import ModelSpec
from radiograft.registry.analysis_types import DriftReport
from radiograft.reporting.html import ReportSection, environment
from radiograft.reporting.plots import BLUE, SETTINGS, STYLES, VERMILION, as_svg
from radiograft.training.datasets import with_views

log = logging.getLogger(__name__)

SIZE, INSIDE = (4.0, 2.4), (0.17, 0.2, 0.8, 0.74)  # inches; left, bottom, width, height


class Embeddings(NamedTuple):
    """Images sampled from a split: positions in the split, probabilities and features, in the same order."""

    positions: np.ndarray
    scores: np.ndarray
    features: np.ndarray


def embed_images(
    data: Shards, model: keras.Model, spec: ModelSpec, strategy: tf.distribute.Strategy, seed: int
) -> dict[str, Embeddings]:
    """Computes probabilities and features of images sampled from `validation` and from `test`."""
    embedding_model, embeddings = EmbeddingModel(model, strategy, spec.tensors), {}
    samples = with_views(data, spec.lateral)
    for split in ("validation", "test"):
        positions = draw_sample(data.split(split), seed)
        log.debug("drift: embedding %d images of %s", len(positions), split)
        inputs = samples.chosen_inputs(split, positions.tolist(), BATCH_SIZE)
        embeddings[split] = Embeddings(positions, *embedding_model.embed(inputs))
    return embeddings


def compare_validation_and_test(
    data: Shards, embeddings: dict[str, Embeddings], spec: ModelSpec, seed: int, output: Path
) -> tuple[DriftReport, ReportSection]:
    """Compares test with training and validation, and writes the reference sample to the folder `output`.

    Scores and features are compared with validation only, because the model is more confident on images that it was
    trained on, which is not drift.
    """
    test = data.split("test").iloc[embeddings["test"].positions]
    new = describe_rows(test, data.labels, embeddings["test"].scores, embeddings["test"].features)
    reference = _reference(data, embeddings["validation"], spec, seed)
    reference.write(output / REFERENCE)
    comparison = compare_samples(reference, new, seed)
    svgs = drift_plots(comparison, reference, new)
    return comparison.drift, drift_section(comparison.drift, svgs, "development data", "test data")


def drift_section(drift: DriftReport, svgs: dict[str, str], reference: str, new: str) -> ReportSection:
    """Returns the report section; `reference` and `new` are the displayed names of the two samples."""
    content = {"drift": drift, "plots": svgs, "reference": reference, "new": new}
    sentences = {"outcome": drift_outcome(drift), "shift": describe_shift(drift), "untested": describe_untested(drift)}
    return ReportSection("drift.html.j2", {**content, **sentences, "names": NAMES, "permutations": PERMUTATIONS})


def render_drift_page(section: ReportSection, *, title: str, source: str, created: str, notes: Sequence[str]) -> str:
    """Renders a standalone HTML page for a comparison outside an evaluation."""
    page = environment().get_template("drift_page.html.j2")
    return page.render(section=section, title=title, source=source, created=created, notes=notes)


def drift_warnings(drift: DriftReport) -> list[str]:
    """Returns a warning for the report summary if a shift was detected or nothing was compared, else an empty list."""
    if drift_outcome(drift) == NOT_COMPARED:
        return [f"Data drift is unknown, because {NOT_COMPARED}: {describe_untested(drift)}."]
    if not drift["shifted"]:
        return []
    sentence = f"The test images differ from the development images: {describe_shift(drift)}."
    return [f"{sentence} Metrics on test may not hold for images like the development images."]


def _reference(data: Shards, validation: Embeddings, spec: ModelSpec, seed: int) -> ReferenceSample:
    validation_rows, train = data.split("validation").iloc[validation.positions], data.split("train")
    rows = pd.concat([validation_rows, train.iloc[draw_sample(train, seed)]], ignore_index=True)
    images = data.chosen("validation", validation.positions.tolist()).batch(BATCH_SIZE)
    ranges = measure_ranges(rows, images.as_numpy_iterator())
    return describe_rows(rows, data.labels, validation.scores, validation.features, ranges, further_names(spec))


def drift_plots(comparison: DriftComparison, reference: ReferenceSample, new: ReferenceSample) -> dict[str, str]:
    """Returns one SVG per variable that was tested, by its name. Scores are shown for the label that differs most."""
    drift, tests = comparison.drift, comparison.drift["tests"]
    plots = {name: shares_svg(drift["shares"][name]) for name in ("view", "sex") if tests[name]["value"] is not None}
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
        axes.set_xticks(positions, [textwrap.fill(textwrap.shorten(name, 24, placeholder="…"), 9) for name in shares])
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
