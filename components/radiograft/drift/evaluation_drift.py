"""Compares the test split with the development data, and stores a reference sample for drift monitoring."""

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
from radiograft.drift.comparison import NAMES, compare_samples, describe_shift
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
from radiograft.registry.result_types import DriftReport
from radiograft.reporting.html import ReportSection, environment

log = logging.getLogger(__name__)


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
    for split in ("validation", "test"):
        positions = draw_sample(data.split(split), seed)
        log.debug("drift: embedding %d images of %s", len(positions), split)
        embeddings[split] = Embeddings(positions, *embedding_model.observe(choose_rows(data, split, positions)))
    return embeddings


def compare_validation_and_test(
    data: Shards, embeddings: dict[str, Embeddings], seed: int, output: Path
) -> tuple[DriftReport, ReportSection]:
    """Compares test with training and validation, and writes the reference sample to the folder `output`.

    Scores and features are compared with validation only, because the model is more confident on images that it was
    trained on, which is not drift.
    """
    test = data.split("test").iloc[embeddings["test"].positions]
    new = describe_rows(test, data.labels, embeddings["test"].scores, embeddings["test"].features)
    reference = _reference(data, embeddings["validation"], seed)
    reference.write(output / REFERENCE)
    comparison = compare_samples(reference, new, seed)
    svgs = drift_plots(comparison, reference, new)
    return comparison.drift, drift_section(comparison.drift, svgs, "development data", "test data")


def drift_section(drift: DriftReport, svgs: dict[str, str], reference: str, new: str) -> ReportSection:
    """Returns the report section; `reference` and `new` are the displayed names of the two samples."""
    content = {"drift": drift, "plots": svgs, "shift": describe_shift(drift), "reference": reference, "new": new}
    return ReportSection("drift.html.j2", {**content, "names": NAMES, "permutations": PERMUTATIONS})


def render_drift_page(section: ReportSection, *, title: str, source: str, created: str, notes: Sequence[str]) -> str:
    """Renders a standalone HTML page for a comparison outside an evaluation."""
    page = environment().get_template("drift_page.html.j2")
    return page.render(section=section, title=title, source=source, created=created, notes=notes)


def drift_warnings(drift: DriftReport) -> list[str]:
    """Returns a warning for the report summary if a shift was detected, else an empty list."""
    if not drift["shifted"]:
        return []
    sentence = f"The test images differ from the development images: {describe_shift(drift)}."
    return [f"{sentence} Metrics on test may not hold for images like the development images."]


def _reference(data: Shards, validation: Embeddings, seed: int) -> ReferenceSample:
    validation_rows, train = data.split("validation").iloc[validation.positions], data.split("train")
    rows = pd.concat([validation_rows, train.iloc[draw_sample(train, seed)]], ignore_index=True)
    return describe_rows(rows, data.labels, validation.scores, validation.features)
