"""ChestX-ray14's full tables, synthetic or NIH's, with an image file for each row.

The files have no pixels: only a PNG header with the size from the table, and their name, which makes them unique.
"""

from __future__ import annotations

import gzip
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.config import FINDINGS, NO_FINDING
from radiograft.data.sources.chestxray14 import BOX_TABLE as BOXES
from radiograft.data.sources.chestxray14 import LISTS, TABLES

TABLE = TABLES[0]
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS, PATIENTS = 112_120, 30_805
TEST_FRACTION = 0.228  # of the patients
IMAGES_PER_FOLDER = 10_000


def copy(folder: Path) -> bool:
    """Copies NIH's tables from RADIOGRAFT_TEST_DATA to a folder; returns False if they are missing."""
    source = Path(os.environ.get("RADIOGRAFT_TEST_DATA", "/nowhere")) / "chestxray14"
    if not (source / f"{TABLE}.gz").exists():
        return False
    folder.mkdir(parents=True)
    for name in (f"{TABLE}.gz", f"{BOXES}.gz", *LISTS.values()):
        shutil.copy(source / name, folder)
    return True


def draw(folder: Path, rows: int = ROWS, patients: int = PATIENTS) -> None:
    """Generates a table and split lists with random findings in NIH's format."""
    rng = np.random.default_rng(0)
    patient = np.sort(np.concatenate([np.arange(patients), rng.integers(0, patients, rows - patients)])) + 1
    follow_up = pd.Series(patient).groupby(patient).cumcount()
    table = pd.DataFrame(
        {
            "name": [f"{person:08d}_{number:03d}.png" for person, number in zip(patient, follow_up, strict=True)],
            "findings": _findings(rng, rows),
            "follow_up": follow_up,
            "patient": patient,
            "age": rng.integers(1, 96, patients)[patient - 1],
            "sex": np.where(rng.random(patients) < 0.56, "M", "F")[patient - 1],
            "view": np.where(rng.random(rows) < 0.6, "PA", "AP"),
            "width": rng.choice([2500, 2992, 2048], rows),
            "height": rng.choice([2048, 2991, 2500], rows),
            "across": 0.168,
            "down": 0.168,
        }
    )
    folder.mkdir(parents=True)
    body = table.to_csv(header=False, index=False, lineterminator="\n")
    (folder / f"{TABLE}.gz").write_bytes(gzip.compress(f"{HEADER}\n{body}".encode(), 1))
    in_test = (rng.random(patients) < TEST_FRACTION)[patient - 1]
    (folder / LISTS["train_val"]).write_text("\n".join(table["name"][~in_test]))
    (folder / LISTS["test"]).write_text("\n".join(table["name"][in_test]))


def _findings(rng: np.random.Generator, rows: int) -> list[str]:
    """Draws no finding for about half of the images, and one to three for the others."""
    counts = np.where(rng.random(rows) < 0.54, 0, rng.integers(1, 4, rows))
    order = rng.random((rows, len(FINDINGS))).argsort(axis=1)
    chosen = (sorted(indices[:count]) for indices, count in zip(order, counts, strict=True))
    return ["|".join(FINDINGS[index] for index in indices) or NO_FINDING for indices in chosen]


def write_headers(folder: Path) -> None:
    """Writes a file for each row of the folder's table, in numbered folders as NIH does."""
    for number, row in enumerate(pd.read_csv(folder / f"{TABLE}.gz", usecols=[0, 7, 8]).itertuples(index=False)):
        name, width, height = row
        images = folder / f"images_{number // IMAGES_PER_FOLDER + 1:03d}" / "images"
        images.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(_header(width, height) + name.encode())


def _header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def counts_of_table(folder: Path) -> pd.DataFrame:
    """Counts images, and images with each finding, by list, view and sex; reads the raw files with pandas only."""
    raw = pd.read_csv(folder / f"{TABLE}.gz", dtype=str)
    in_test = raw["Image Index"].isin((folder / LISTS["test"]).read_text().split())
    findings = raw["Finding Labels"].str.split("|")
    positives = {finding: findings.map(lambda names, one=finding: one in names) for finding in FINDINGS}
    keys = {"test": in_test, "view": raw["View Position"], "sex": raw["Patient Gender"]}
    return _counts(pd.DataFrame(keys | {"images": 1} | positives))


def counts_of_catalog(folder: Path) -> pd.DataFrame:
    """Counts the same from a written catalog."""
    rows = pd.read_parquet(folder / "catalog.parquet")
    positives = {finding: rows[f"label:{finding}"] for finding in FINDINGS}
    keys = {"test": rows["split"] == "test", "view": rows["view"], "sex": rows["sex"]}
    return _counts(pd.DataFrame(keys | {"images": 1} | positives))


def _counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Sums the columns by test split, view and sex, as int64."""
    keys = {"test": bool, "view": str, "sex": str}
    return rows.astype(keys).groupby(list(keys)).sum().astype("int64").sort_index()
