"""Reader of one folder per class, optionally inside train, val and test, such as Kermany's pneumonia dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from radiograft import storage
from radiograft.data import splits
from radiograft.data.catalog import exclusion
from radiograft.data.sources import image_files, label_cells
from radiograft.data.sources.base import Source, patient_ids
from radiograft.utils.errors import SensitiveValueError

# File names of Kermany's dataset. Mendeley Data: DISEASE-PATIENT-IMAGE. Kaggle: personPATIENT_DISEASE_IMAGE, where
# patients are numbered separately for each disease, and IM-PATIENT-IMAGE.
PATIENTS = (
    re.compile(r"(?:NORMAL|BACTERIA|VIRUS)-(\d+)-\d+"),
    re.compile(r"(person\d+_(?:bacteria|virus))_\d+"),
    re.compile(r"((?:NORMAL2-)?IM-\d+)-\d+.*"),
)


class FolderLabels(NamedTuple):
    """The class of each file, missing outside the class folders, and the dataset's own split."""

    classes: pd.Series[str]
    official: pd.Series[str]


def read(uri: str, labels: Sequence[str] = ()) -> Source:
    """Reads a folder or object store prefix with one folder per class.

    Patient ids are read from file names that follow Kermany's naming.

    Args:
        uri: Folder or prefix.
        labels: The requested labels.

    Raises:
        FileNotFoundError: The folder does not exist.
        ValueError: There are fewer than two classes.
    """
    images, excluded_files = image_files.list_images(storage.list_files(uri))
    rows = images.rename(columns={"path": "image_id"})
    folders = labels_from_folders(rows["image_id"], uri)
    labeled = folders.classes.notna()
    excluded = exclusion(rows["image_id"][~labeled], "image outside the class folders")
    rows = rows.assign(official=folders.official, view=None, sex=None, age=float("nan"))[labeled].reset_index(drop=True)
    rows["patient_id"], notes = patient_ids(rows["image_id"].map(kermany_patient).astype("string"), rows["image_id"])
    findings = label_cells.findings_from_folders(folders.classes[labeled].reset_index(drop=True), labels)
    excluded = pd.concat([excluded_files, excluded])
    return Source(uri, rows.astype({"view": "string", "sex": "string"}), findings, excluded, notes)


def labels_from_folders(paths: pd.Series[str], uri: str) -> FolderLabels:
    """Reads the class and split from each path: `class/...`, or `train/class/...` if every top folder names a split.

    Raises:
        SensitiveValueError: There are fewer than two classes.
    """
    parts = paths.str.split("/")
    tops = sorted({part[0] for part in parts if len(part) > 1})
    has_splits = bool(tops) and all(top.lower() in splits.NAMES for top in tops)
    depth = 1 if has_splits else 0
    classes = parts.map(lambda part: part[depth] if len(part) > depth + 1 else None).astype("string")
    if classes.nunique() < 2:
        names = sorted(classes.dropna().unique())
        message = (
            "data_source must contain one folder per class, for at least two classes, or train, val and test folders "
            f"that contain the class folders; {uri} has"
        )
        raise SensitiveValueError(f"{message} {', '.join(names) or 'none'}", f"{message} {len(names)}")
    split_names = parts.map(lambda part: part[0] if has_splits else "").astype("string")
    return FolderLabels(classes, splits.official_splits(split_names, uri))


def kermany_patient(path: str) -> str:
    """Returns the patient id in a file name of Kermany's dataset, or "" for any other name.

    Example:
        >>> kermany_patient("train/PNEUMONIA/person1_bacteria_2.jpeg")
        'person1_bacteria'
    """
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return next((match[1] for pattern in PATIENTS if (match := pattern.fullmatch(stem))), "")
