"""Has the test split drifted from the data that the model was made with? Also keeps these data's sample for later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.drift.comparison import NAMES, DriftReport, compare_samples, describe_shift
from radiograft.drift.plots import drift_plots
from radiograft.drift.reference import (
    REFERENCE,
    EmbeddingModel,
    ReferenceSample,
    choose_rows,
    describe_rows,
    draw_sample,
)
from radiograft.drift.two_sample_tests import PERMUTATIONS
from radiograft.models.spec import ModelSpec
from radiograft.reporting.html import ReportSection, environment

log = logging.getLogger(__name__)


class Embeddings(NamedTuple):
    """Images drawn from a split: their positions in it, probabilities and features, in one order."""

    positions: np.ndarray
    scores: np.ndarray
    features: np.ndarray


def embed_images(
    data: Shards, model: keras.Model, spec: ModelSpec, strategy: tf.distribute.Strategy, seed: int
) -> dict[str, Embeddings]:
    """What the model says of images drawn from `validation` and from `test`."""
    observer, observed = EmbeddingModel(model, strategy, spec.tensors), {}
    for split in ("validation", "test"):
        positions = draw_sample(data.split(split), seed)
        log.debug("drift: observing %d images of %s", len(positions), split)
        observed[split] = Embeddings(positions, *observer.observe(choose_rows(data, split, positions)))
    return observed


def compare_validation_and_test(
    data: Shards, observed: dict[str, Embeddings], seed: int, output: Path
) -> tuple[DriftReport, ReportSection]:
    """Compares test with training and validation, and writes the sample of these to the folder `output`.

    What the model says is compared with validation alone: of the images that it was fitted to it is surer than of
    any others, which is no drift. Validation patients are drawn from the same list, or the data set's own.
    """
    test = data.split("test").iloc[observed["test"].positions]
    new = describe_rows(test, data.labels, observed["test"].scores, observed["test"].features)
    reference = _reference(data, observed["validation"], seed)
    reference.write(output / REFERENCE)
    comparison = compare_samples(reference, new, seed)
    svgs = drift_plots(comparison, reference, new)
    return comparison.drift, drift_section(comparison.drift, svgs, "the development data", "the test data")


def drift_section(drift: DriftReport, svgs: dict[str, str], reference: str, new: str) -> ReportSection:
    """The report's section; `reference` and `new` are what the page calls the two sides."""
    content = {"drift": drift, "plots": svgs, "shift": describe_shift(drift), "reference": reference, "new": new}
    return ReportSection("drift.html.j2", {**content, "names": NAMES, "permutations": PERMUTATIONS})


def render_drift_page(section: ReportSection, *, title: str, source: str, created: str, notes: Sequence[str]) -> str:
    """A page of its own for a comparison that is not part of an evaluation."""
    page = environment().get_template("drift_page.html.j2")
    return page.render(section=section, title=title, source=source, created=created, notes=notes)


def drift_warnings(drift: DriftReport) -> list[str]:
    """One sentence for the head of the report where something shifted, else none."""
    sentence = (
        f"The test images differ from those that the model was made with: {describe_shift(drift)}. Figures measured "
        "on them need not hold for images like those."
    )
    return [sentence] if drift["shifted"] else []


def _reference(data: Shards, validation: Embeddings, seed: int) -> ReferenceSample:
    seen = data.split("validation").iloc[validation.positions]
    fitted = data.split("train")
    rows = pd.concat([seen, fitted.iloc[draw_sample(fitted, seed)]], ignore_index=True)
    return describe_rows(rows, data.labels, validation.scores, validation.features)
