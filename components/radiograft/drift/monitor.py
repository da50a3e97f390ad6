"""Compares the images of a new data source with the reference sample of a published version."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config import Ingest
from radiograft.config.data import IMAGE, STUDY
from radiograft.config.patient_data import STANDARD_COLUMNS, covariate_column
from radiograft.data.image_loader import decode_in_order, decode_rows
from radiograft.data.patient_data import type_covariates
from radiograft.data.shards.files import sort_for_reading
from radiograft.data.sources.base import Source
from radiograft.data.sources.readers import UNLABELED_READERS
from radiograft.data.studies import group_images, laterals_of
from radiograft.drift.comparison import DriftComparison, compare_samples
from radiograft.drift.reference import (
    BATCH_SIZE,
    REFERENCE,
    EmbeddingModel,
    ReferenceSample,
    describe_rows,
    draw_sample,
    further_names,
)
from radiograft.imaging.geometry import ImageInput
from radiograft.imaging.views import LATERAL
from radiograft.models import artifact
from radiograft.models.spec import ModelSpec
from radiograft.training import devices
from radiograft.training.datasets import encode_rows
from radiograft.utils.quoting import format_names

WITHOUT_TABLE = ("dicom", "folders")  # formats that are read without patient data of a table
VERSION_FILES = ("model.keras", "contract.json", REFERENCE)


class NewImages(NamedTuple):
    """Sample of a source that has `available` images; `unreadable` of the sampled images could not be decoded."""

    sample: ReferenceSample
    available: int
    unreadable: int
    notes: tuple[str, ...]


class DriftRun(NamedTuple):
    """A comparison and the two samples that were compared."""

    comparison: DriftComparison
    reference: ReferenceSample
    new: NewImages


def compare_with_version(version: Path, data_format: str, source: str, data_table: str) -> DriftRun:
    """Compares the images of a source with the development data of a version.

    A network that also reads a lateral image or patient data scores whole studies, as for the reference. What the
    source does not have is missing, and a note says so. Labels and splits of the source are ignored. The formats
    `folders`, `dicom` and `table` may omit them; the other formats need every file that ingest needs.

    Args:
        version: folder with VERSION_FILES.
        data_format: a format that ingest supports.
        source: path or URI, as the reader of that format expects it.
        data_table: column mapping of a table, see `TableLayout`.

    Raises:
        FileNotFoundError: if the source does not exist.
        ValueError: if the reader rejects the source, no image can be decoded, or the reference is malformed.
    """
    spec, reference = ModelSpec.read(version), ReferenceSample.read((version / REFERENCE).read_bytes())
    settings = Ingest(
        data_format=data_format, data_source=source, data_table=data_table, data_labels=format_names(spec.labels)
    )
    inputs = reference.inputs.tolist()
    model = EmbeddingModel(artifact.load_model(version), devices.distribution_strategy(), spec.tensors)
    new = embed_source(_with_inputs(settings, inputs), model, spec, inputs)
    if not inputs:
        new = new._replace(notes=(*new.notes, *missing_input_notes(spec)))
    return DriftRun(compare_samples(reference, new.sample, settings.train_seed), reference, new)


def _with_inputs(settings: Ingest, inputs: Sequence[str]) -> Ingest:
    """Returns the settings that also read lateral images and further patient data, as far as the format has them."""
    has_table = settings.data_format not in WITHOUT_TABLE
    columns = [name for name in inputs if has_table and name not in (LATERAL, *STANDARD_COLUMNS)]
    return dataclasses.replace(
        settings,
        data_unit=STUDY if LATERAL in inputs and settings.names_studies else IMAGE,
        data_covariates=format_names(columns),
        data_covariates_insist=format_names(columns),  # ingest decided about them
    )


def missing_input_notes(spec: ModelSpec) -> list[str]:
    """Returns a note on the inputs of a network that an older version's reference leaves out, if there are any.

    Age, sex and view are compared by themselves, but the scores are those without them.
    """
    names = list(map(_shown, further_names(spec)))
    if not names:
        return []
    unseen = [name for name in names if name not in STANDARD_COLUMNS]
    blind = f" A shift of {', '.join(unseen)} is not tested." if unseen else ""
    return [f"Scores and features are of the frontal image alone, without {', '.join(names)}.{blind}"]


def embed_source(settings: Ingest, model: EmbeddingModel, spec: ModelSpec, inputs: Sequence[str] = ()) -> NewImages:
    """Samples images or studies from a source and computes their scores and features.

    Args:
        settings: format and location of the source; `train_seed` seeds the sample.
        model: the model of the version.
        spec: its specification.
        inputs: names of the inputs to read besides the frontal image, see `further_names`; none or all of them.

    Raises:
        FileNotFoundError: if the source does not exist.
        ValueError: if the reader rejects the source or no image can be decoded.
    """
    source = _read_source(settings)
    rows = sort_for_reading(source.rows.iloc[draw_sample(source.rows, settings.train_seed)])
    images = [decoded.image for decoded in decode_rows(rows, spec.image_input)]
    readable = np.array([image is not None for image in images], bool)
    if not readable.any():
        raise ValueError(f"the source must contain readable images, got {len(source.rows)} images in {source.uri}")
    stacked, rows = np.stack([image for image in images if image is not None]), rows[readable]
    batches = tf.data.Dataset.from_tensor_slices(_network_inputs(rows, stacked, spec) if inputs else stacked)
    scores, features = model.embed(batches.batch(BATCH_SIZE))
    sample = describe_rows(rows, spec.labels, scores, features, inputs=inputs)
    notes = (*source.notes, *_lacking_notes(rows, spec, inputs))
    return NewImages(sample, len(source.rows), int((~readable).sum()), notes)


def _read_source(settings: Ingest) -> Source:
    source = UNLABELED_READERS[settings.data_format](settings)
    return group_images(source._replace(rows=type_covariates(source.rows)), settings)


def _network_inputs(rows: pd.DataFrame, images: np.ndarray, spec: ModelSpec) -> tuple[np.ndarray, ...]:
    """Returns all inputs of the network: frontal images, lateral images and encoded patient data."""
    laterals = [_load_laterals(rows, images, spec.image_input)] if spec.lateral else []
    return (images, *laterals, *([encode_rows(rows, spec.covariates)] if spec.covariates else []))


def _load_laterals(rows: pd.DataFrame, images: np.ndarray, target: ImageInput) -> np.ndarray:
    """Returns the lateral images of studies, shaped like `images`; zeros if a study has none that can be read."""
    laterals = np.zeros_like(images)
    if "lateral" in rows:
        places = np.flatnonzero(rows["lateral"].notna())
        for place, loaded in zip(places, decode_in_order(laterals_of(rows), target), strict=True):
            if loaded.image is not None:
                laterals[place] = loaded.image
    return laterals


def _lacking_notes(rows: pd.DataFrame, spec: ModelSpec, inputs: Sequence[str]) -> list[str]:
    """Returns a note on the inputs that no row has."""
    columns = {LATERAL: "lateral", **{each.name: covariate_column(each.name) for each in spec.covariates}}
    lacking = [_shown(name) for name in inputs if columns[name] not in rows or rows[columns[name]].isna().all()]
    return [f"The source lacks {', '.join(lacking)}; the network reads them as missing."] if lacking else []


def _shown(name: str) -> str:
    return "lateral image" if name == LATERAL else name
