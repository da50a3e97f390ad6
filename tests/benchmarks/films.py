"""The benchmark dataset: synthetic films, ingested and preprocessed by the stages, with exact counts per split."""

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
SIDE = 224  # pixels, network input
DRAWN_SIDE = 256  # pixels, image files
IMAGES_A_PATIENT = 2.0  # mean of the phantom dataset
SPARE = 1.2  # patients have 1 to 5 images, so generate more than needed


def catalog(work: Path) -> Path:
    """Returns the catalog of COUNTS films below `work`; the first call creates it."""
    folder = work / "catalog"
    if not folder.exists():
        draw(work / "films", COUNTS, DRAWN_SIDE)
        ingest_some(work / "films", COUNTS, folder)
    return folder


def shards(work: Path) -> Path:
    """Returns the shards of these films at SIDE pixels; the first call creates them."""
    folder = work / "shards"
    if not folder.exists():
        preprocess.run(Preprocess(image_size=SIDE), catalog(work), folder)
    return folder


def draw(folder: Path, counts: dict[str, int], side: int) -> None:
    """Writes films in NIH's layout, enough patients for each split to reach its count."""
    train_val, test = counts["train"] + counts["validation"], counts["test"]
    images = max(train_val * TEST_EVERY / (TEST_EVERY - 1), test * TEST_EVERY)
    for name, content in generate_phantom_files(math.ceil(images * SPARE / IMAGES_A_PATIENT) + 20, seed=0, size=side):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def ingest_some(films: Path, counts: dict[str, int], folder: Path) -> None:
    """Ingests the films and keeps exactly `counts` rows of each split.

    Raises:
        ValueError: if a split has fewer rows.
    """
    fraction = counts["validation"] / (counts["train"] + counts["validation"])
    settings = Ingest(data_source=str(films), data_labels=LABEL, data_validation_fraction=fraction)
    ingested = ingest.run(settings, folder)
    parts = [ingested.rows[ingested.rows["split"] == split].head(count) for split, count in counts.items()]
    if [len(part) for part in parts] != list(counts.values()):
        raise ValueError(
            f"the splits must have {counts} images, got {[len(part) for part in parts]}; generate more patients"
        )
    rows = pd.concat(parts).sort_values("image_id").reset_index(drop=True)
    dataclasses.replace(ingested, rows=rows).write(folder)
