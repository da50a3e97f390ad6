"""ChestX-ray14's tables in full size, drawn in NIH's exact format or NIH's own, with a header for each image.

What the images show is not there: a header of the size that the table tells and the name, so that no two are alike.
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
TESTED = 0.228  # of the images, by patients
A_FOLDER = 10_000  # images


def copy(folder: Path) -> bool:
    """Copies NIH's own tables to a folder, where RADIOGRAFT_TEST_DATA has them."""
    source = Path(os.environ.get("RADIOGRAFT_TEST_DATA", "/nowhere")) / "chestxray14"
    if not (source / f"{TABLE}.gz").exists():
        return False
    folder.mkdir(parents=True)
    for name in (f"{TABLE}.gz", f"{BOXES}.gz", *LISTS.values()):
        shutil.copy(source / name, folder)
    return True


def draw(folder: Path, rows: int = ROWS, patients: int = PATIENTS) -> None:
    """Draws a table and lists with so many images and patients, as often with each finding as chance has it."""
    rng = np.random.default_rng(0)
    patient = np.sort(np.concatenate([np.arange(patients), rng.integers(0, patients, rows - patients)])) + 1
    follow_up = pd.Series(patient).groupby(patient).cumcount()
    table = pd.DataFrame(
        {
            "name": [f"{who:08d}_{number:03d}.png" for who, number in zip(patient, follow_up, strict=True)],
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
    rest = table.to_csv(header=False, index=False, lineterminator="\n")
    (folder / f"{TABLE}.gz").write_bytes(gzip.compress(f"{HEADER}\n{rest}".encode(), 1))
    tested = (rng.random(patients) < TESTED)[patient - 1]
    (folder / LISTS["train_val"]).write_text("\n".join(table["name"][~tested]))
    (folder / LISTS["test"]).write_text("\n".join(table["name"][tested]))


def _findings(rng: np.random.Generator, rows: int) -> list[str]:
    """No finding in a half of the images, one to three in the others."""
    counts = np.where(rng.random(rows) < 0.54, 0, rng.integers(1, 4, rows))
    order = rng.random((rows, len(FINDINGS))).argsort(axis=1)
    drawn = (sorted(places[:count]) for places, count in zip(order, counts, strict=True))
    return ["|".join(FINDINGS[place] for place in places) or NO_FINDING for places in drawn]


def write_headers(folder: Path) -> None:
    """Writes a file for each row of the folder's table, over folders as NIH has them."""
    for number, row in enumerate(pd.read_csv(folder / f"{TABLE}.gz", usecols=[0, 7, 8]).itertuples(index=False)):
        name, width, height = row
        place = folder / f"images_{number // A_FOLDER + 1:03d}" / "images"
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(_header(width, height) + name.encode())


def _header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))


def counts_of_table(folder: Path) -> pd.DataFrame:
    """Images and those with each finding by list, view and sex, from the raw files by pandas alone."""
    raw = pd.read_csv(folder / f"{TABLE}.gz", dtype=str)
    tested = raw["Image Index"].isin((folder / LISTS["test"]).read_text().split())
    named = raw["Finding Labels"].str.split("|")
    found = {finding: named.map(lambda names, one=finding: one in names) for finding in FINDINGS}
    keys = {"test": tested, "view": raw["View Position"], "sex": raw["Patient Gender"]}
    return _counts(pd.DataFrame(keys | {"pictures": 1} | found))


def counts_of_catalog(folder: Path) -> pd.DataFrame:
    """The same from a written catalog."""
    rows = pd.read_parquet(folder / "catalog.parquet")
    found = {finding: rows[f"label:{finding}"] for finding in FINDINGS}
    keys = {"test": rows["split"] == "test", "view": rows["view"], "sex": rows["sex"]}
    return _counts(pd.DataFrame(keys | {"pictures": 1} | found))


def _counts(rows: pd.DataFrame) -> pd.DataFrame:
    """Sums by test or not, view and sex, int64."""
    keys = {"test": bool, "view": str, "sex": str}
    return rows.astype(keys).groupby(list(keys)).sum().astype("int64").sort_index()
