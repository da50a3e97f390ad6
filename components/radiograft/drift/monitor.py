"""Compares the images of a new data source with the reference sample of a published version."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from radiograft.config import Ingest
from radiograft.config.patient_data import STANDARD_COLUMNS
from radiograft.data.image_loader import decode_rows
from radiograft.data.shards.files import sort_for_reading
from radiograft.data.sources.readers import UNLABELED_READERS
from radiograft.drift.comparison import DriftComparison, compare_samples
from radiograft.drift.reference import (
    BATCH_SIZE,
    REFERENCE,
    EmbeddingModel,
    ReferenceSample,
    describe_rows,
    draw_sample,
)
from radiograft.imaging.geometry import ImageInput
from radiograft.models import artifact
from radiograft.models.spec import ModelSpec
from radiograft.training import devices
from radiograft.utils.quoting import format_names

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

    A network that also reads a lateral image or patient data scores the frontal images alone, as for the reference; a
    note says so. Labels and splits of the source are ignored. The formats `folders`, `dicom` and `table` may omit them;
    the other formats need every file that ingest needs.

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
    model = EmbeddingModel(artifact.load_model(version), devices.distribution_strategy(), spec.tensors)
    new = embed_source(settings, model, spec.labels, spec.image_input)
    new = new._replace(notes=(*new.notes, *missing_input_notes(spec)))
    return DriftRun(compare_samples(reference, new.sample, settings.train_seed), reference, new)


def missing_input_notes(spec: ModelSpec) -> list[str]:
    """Returns a note on the inputs of a network that are not compared, if there are any.

    Age, sex and view are compared by themselves, but the scores are those without them.
    """
    names = (["lateral image"] if spec.lateral else []) + [each.name for each in spec.covariates]
    if not names:
        return []
    unseen = [name for name in names if name not in STANDARD_COLUMNS]
    blind = f" A shift of {', '.join(unseen)} is not tested." if unseen else ""
    return [f"Scores and features are of the frontal image alone, without {', '.join(names)}.{blind}"]


def embed_source(settings: Ingest, model: EmbeddingModel, labels: tuple[str, ...], target: ImageInput) -> NewImages:
    """Samples images from a source and computes their scores and features.

    Args:
        settings: format and location of the source; `train_seed` seeds the sample.
        model: the model of the version.
        labels: the labels of the model.
        target: the model's input.

    Raises:
        FileNotFoundError: if the source does not exist.
        ValueError: if the reader rejects the source or no image can be decoded.
    """
    source = UNLABELED_READERS[settings.data_format](settings)
    rows = sort_for_reading(source.rows.iloc[draw_sample(source.rows, settings.train_seed)])
    images = [decoded.image for decoded in decode_rows(rows, target)]
    readable = np.array([image is not None for image in images], bool)
    if not readable.any():
        raise ValueError(f"the source must contain readable images, got {len(source.rows)} images in {source.uri}")
    stacked = np.stack([image for image in images if image is not None])
    scores, features = model.embed(tf.data.Dataset.from_tensor_slices(stacked).batch(BATCH_SIZE))
    sample = describe_rows(rows[readable], labels, scores, features)
    return NewImages(sample, len(source.rows), int((~readable).sum()), source.notes)
