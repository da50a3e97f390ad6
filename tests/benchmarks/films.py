"""The films that are measured on: drawn by the phantom, ingested and preprocessed as a run would, in exact numbers."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pandas as pd

from radiograft.config import Ingest, Preprocess
from radiograft.data.synthetic.dataset import TEST_EVERY, generate_phantom_files
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess

LABEL = "Pneumonia"
COUNTS = {"train": 500, "validation": 100, "test": 20}
SIDE = 224  # pixels, what the network sees
DRAWN_SIDE = 256  # pixels, of the files
IMAGES_A_PATIENT = 2.0  # of the phantom, on average
SPARE = 1.2  # patients bring 1 to 5 images each, so that more must be drawn than are kept


def catalog(work: Path) -> Path:
    """The catalog of COUNTS films below `work`, made at the first call."""
    folder = work / "catalog"
    if not folder.exists():
        draw(work / "films", COUNTS, DRAWN_SIDE)
        ingest_some(work / "films", COUNTS, folder)
    return folder


def shards(work: Path) -> Path:
    """The same films as shards of SIDE pixels, made at the first call."""
    folder = work / "shards"
    if not folder.exists():
        preprocess.run(Preprocess(image_size=SIDE), catalog(work), folder)
    return folder


def draw(folder: Path, counts: dict[str, int], side: int) -> None:
    """Writes so many patients in NIH's layout that each split can hold its count."""
    fitted, tested = counts["train"] + counts["validation"], counts["test"]
    images = max(fitted * TEST_EVERY / (TEST_EVERY - 1), tested * TEST_EVERY)
    for name, content in generate_phantom_files(math.ceil(images * SPARE / IMAGES_A_PATIENT) + 20, seed=0, size=side):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def ingest_some(films: Path, counts: dict[str, int], folder: Path) -> None:
    """Ingests the films and keeps exactly `counts` rows of each split.

    Raises:
        ValueError: a split has fewer.
    """
    fraction = counts["validation"] / (counts["train"] + counts["validation"])
    settings = Ingest(data_source=str(films), data_labels=LABEL, data_validation_fraction=fraction)
    found = ingest.run(settings, folder)
    parts = [found.rows[found.rows["split"] == split].head(count) for split, count in counts.items()]
    if [len(part) for part in parts] != list(counts.values()):
        raise ValueError(f"the films must hold {counts}, got {[len(part) for part in parts]}; draw more patients")
    rows = pd.concat(parts).sort_values("image_id").reset_index(drop=True)
    dataclasses.replace(found, rows=rows).write(folder)
