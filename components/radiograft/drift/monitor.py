"""New pictures against a published version: read from a source as ingest reads it, seen by the version's model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from radiograft.config import Ingest
from radiograft.data.image_loader import decode_rows
from radiograft.data.shards.files import in_reading_order
from radiograft.data.sources.readers import UNLABELED_READERS
from radiograft.drift.comparison import Comparison, compare
from radiograft.drift.reference import BATCH_SIZE, REFERENCE, Observer, Sample, describe, draw
from radiograft.models import artifact
from radiograft.training import devices

VERSION_FILES = ("model.keras", "contract.json", REFERENCE)


class NewPictures(NamedTuple):
    """A sample of a source: `available` pictures it has, `unreadable` of those that were drawn could not be decoded."""

    sample: Sample
    available: int
    unreadable: int
    notes: tuple[str, ...]


class Found(NamedTuple):
    """A comparison with what was compared."""

    comparison: Comparison
    reference: Sample
    new: NewPictures


def compare_with_version(version: Path, data_format: str, source: str, data_table: str) -> Found:
    """Compares a source's pictures with a version's own data. Labels and splits of the source play no part.

    They may be missing from `folders`, `dicom` and `table`. Of the other formats every file that ingest asks for has
    to be there.

    Args:
        version: folder with VERSION_FILES.
        data_format: one that ingest knows.
        source: what that format's reader takes.
        data_table: which columns of a table tell what, see `TableLayout`.

    Raises:
        FileNotFoundError, ValueError: what the reader refuses, no picture that can be read, or a broken reference.
    """
    contract, reference = artifact.Contract.read(version), Sample.read((version / REFERENCE).read_bytes())
    settings = Ingest(
        data_format=data_format, data_source=source, data_table=data_table, data_labels=",".join(contract.labels)
    )
    observer = Observer(artifact.load(version), devices.strategy())
    new = observe_source(settings, observer, contract.labels, contract.image_size)
    return Found(compare(reference, new.sample, settings.train_seed), reference, new)


def observe_source(settings: Ingest, observer: Observer, labels: tuple[str, ...], image_size: int) -> NewPictures:
    """Draws pictures from a source and has the model look at them.

    Args:
        settings: format and place; `train_seed` draws the sample.
        labels: the model's.
        image_size: side of the square that the model sees, pixels.

    Raises:
        FileNotFoundError, ValueError: what the reader refuses, or there is no picture that can be read.
    """
    source = UNLABELED_READERS[settings.data_format](settings)
    rows = in_reading_order(source.rows.iloc[draw(source.rows, settings.train_seed)])
    pictures = [decoded.picture for decoded in decode_rows(rows, image_size)]
    readable = np.array([picture is not None for picture in pictures], bool)
    if not readable.any():
        raise ValueError(
            f"the source must hold pictures that can be read, got {len(source.rows)} pictures in {source.uri}"
        )
    kept = np.stack([picture for picture in pictures if picture is not None])
    scores, features = observer.observe(tf.data.Dataset.from_tensor_slices(kept).batch(BATCH_SIZE))
    sample = describe(rows[readable], labels, scores, features)
    return NewPictures(sample, len(source.rows), int((~readable).sum()), source.notes)
