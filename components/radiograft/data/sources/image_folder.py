"""Reader of a folder for each class, within train, val and test or without, such as Kermany's pneumonia data set."""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

from radiograft import storage
from radiograft.data import splits
from radiograft.data.catalog import exclusion
from radiograft.data.sources import base, image_files
from radiograft.data.sources.base import Source, patient_ids
from radiograft.utils.errors import SensitiveValueError

# Kermany's names, as Mendeley Data has them, (disease)-(patient)-(image), and as Kaggle has them:
# person(patient)_(disease)_(image), where each disease counts its patients from 1, and IM-(patient)-(image).
PATIENTS = (
    re.compile(r"(?:NORMAL|BACTERIA|VIRUS)-(\d+)-\d+"),
    re.compile(r"(person\d+_(?:bacteria|virus))_\d+"),
    re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+.*"),
)


class FolderLabels(NamedTuple):
    """What a file's folders say: the class, missing for a file in none, and the data set's own split."""

    classes: pd.Series[str]
    official: pd.Series[str]


def read(uri: str) -> Source:
    """Reads a folder or gs:// prefix with a folder a class; patients are known where files have Kermany's names.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: fewer than two classes.
    """
    found, strays = image_files.list_images(storage.list_files(uri))
    rows = found.rename(columns={"path": "image_id"})
    placed = labels_from_folders(rows["image_id"], uri)
    inside = placed.classes.notna()
    excluded = exclusion(rows["image_id"][~inside], "image outside the class folders")
    rows = rows.assign(official=placed.official, view=None, sex=None, age=float("nan"))[inside].reset_index(drop=True)
    rows["patient_id"], notes = patient_ids(rows["image_id"].map(kermany_patient).astype("string"), rows["image_id"])
    truth = base.findings_from_text(placed.classes[inside].reset_index(drop=True), separator="|")
    excluded = pd.concat([strays, excluded])
    return Source(uri, rows.astype({"view": "string", "sex": "string"}), truth, excluded, notes)


def labels_from_folders(paths: pd.Series[str], uri: str) -> FolderLabels:
    """Class and split of each path: `class/...`, or `train/class/...` where every first folder names a split.

    Raises:
        NamingError: fewer than two classes.
    """
    parts = paths.str.split("/")
    tops = sorted({part[0] for part in parts if len(part) > 1})
    has_splits = bool(tops) and all(top.lower() in splits.NAMES for top in tops)
    classes = parts.map(lambda part: part[has_splits] if len(part) > has_splits + 1 else None).astype("string")
    if classes.nunique() < 2:
        names = sorted(classes.dropna().unique())
        asked = (
            "data_source must hold a folder for each of at least two classes, or train, val and test with these "
            f"folders in them; {uri} has"
        )
        raise SensitiveValueError(f"{asked} {', '.join(names) or 'none'}", f"{asked} {len(names)}")
    named = parts.map(lambda part: part[0] if has_splits else "").astype("string")
    return FolderLabels(classes, splits.official_splits(named, uri))


def kermany_patient(path: str) -> str:
    """The patient that a file's name tells as Kermany's do, or nothing."""
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return next((match[1] for pattern in PATIENTS if (match := pattern.fullmatch(stem))), "")
