"""New images against a published version: read from a source as ingest reads it, seen by the version's model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from radiograft.config import Ingest
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
from radiograft.models import artifact
from radiograft.models.spec import ModelSpec
from radiograft.training import devices

VERSION_FILES = ("model.keras", "contract.json", REFERENCE)


class NewImages(NamedTuple):
    """A sample of a source: `available` images it has, `unreadable` of those that were drawn could not be decoded."""

    sample: ReferenceSample
    available: int
    unreadable: int
    notes: tuple[str, ...]


class DriftRun(NamedTuple):
    """A comparison with what was compared."""

    comparison: DriftComparison
    reference: ReferenceSample
    new: NewImages


def compare_with_version(version: Path, data_format: str, source: str, data_table: str) -> DriftRun:
    """Compares a source's images with a version's own data. Labels and splits of the source play no part.

    They may be missing from `folders`, `dicom` and `table`. Of the other formats every file that ingest asks for has
    to be there.

    Args:
        version: folder with VERSION_FILES.
        data_format: one that ingest knows.
        source: what that format's reader takes.
        data_table: which columns of a table tell what, see `TableLayout`.

    Raises:
        FileNotFoundError, ValueError: what the reader refuses, no image that can be read, or a broken reference.
    """
    spec, reference = ModelSpec.read(version), ReferenceSample.read((version / REFERENCE).read_bytes())
    settings = Ingest(
        data_format=data_format, data_source=source, data_table=data_table, data_labels=",".join(spec.labels)
    )
    observer = EmbeddingModel(artifact.load_model(version), devices.distribution_strategy(), spec.tensors)
    new = embed_source(settings, observer, spec.labels, spec.image_size)
    return DriftRun(compare_samples(reference, new.sample, settings.train_seed), reference, new)


def embed_source(settings: Ingest, observer: EmbeddingModel, labels: tuple[str, ...], image_size: int) -> NewImages:
    """Draws images from a source and has the model look at them.

    Args:
        settings: format and place; `train_seed` draws the sample.
        labels: the model's.
        image_size: side of the square that the model sees, pixels.

    Raises:
        FileNotFoundError, ValueError: what the reader refuses, or there is no image that can be read.
    """
    source = UNLABELED_READERS[settings.data_format](settings)
    rows = sort_for_reading(source.rows.iloc[draw_sample(source.rows, settings.train_seed)])
    images = [decoded.image for decoded in decode_rows(rows, image_size)]
    readable = np.array([image is not None for image in images], bool)
    if not readable.any():
        raise ValueError(f"the source must hold images that can be read, got {len(source.rows)} images in {source.uri}")
    kept = np.stack([image for image in images if image is not None])
    scores, features = observer.observe(tf.data.Dataset.from_tensor_slices(kept).batch(BATCH_SIZE))
    sample = describe_rows(rows[readable], labels, scores, features)
    return NewImages(sample, len(source.rows), int((~readable).sum()), source.notes)
