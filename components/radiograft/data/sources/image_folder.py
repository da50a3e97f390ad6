"""Reader of one folder per class, optionally inside train, val and test, such as Kermany's pneumonia dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from radiograft.data import splits
from radiograft.data.catalog import exclusion
from radiograft.data.sources import label_cells, listing
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
    listed = listing.list_images(listing.list_source(uri))
    rows = listed.images.rename(columns={"path": "image_id"})
    folders = labels_from_folders(rows["image_id"], uri)
    labeled = folders.classes.notna()
    excluded = exclusion(rows["image_id"][~labeled], "image outside the class folders")
    rows = rows.assign(official=folders.official, view=None, sex=None, age=float("nan"))[labeled].reset_index(drop=True)
    rows["patient_id"], notes = patient_ids(rows["image_id"].map(kermany_patient).astype("string"), rows["image_id"])
    findings = label_cells.findings_from_folders(folders.classes[labeled].reset_index(drop=True), labels)
    excluded = pd.concat([listed.excluded, excluded])
    rows = rows.astype({"view": "string", "sex": "string"})
    return Source(uri, rows, findings, excluded, notes, files=listed.files)


def labels_from_folders(paths: pd.Series[str], uri: str) -> FolderLabels:
    """Reads the class and split from each path: `class/...`, or `train/class/...` if every top folder names a split.

    Raises:
        SensitiveValueError: There are fewer than two classes.
    """
    parts = paths.str.split("/")
    tops = sorted({part[0] for part in parts if len(part) > 1})
    has_splits = bool(tops) and all(top.lower() in splits.NAMES for top in tops)
    _check_no_class_beside_splits(tops, uri)
    if not has_splits:
        _check_no_copy_of_classes({(part[0], part[1]) for part in parts if len(part) > 2}, tops, uri)
    depth = 1 if has_splits else 0
    classes = parts.map(lambda part: part[depth] if len(part) > depth + 1 else None).astype("string")
    if classes.nunique() < 2:
        names = sorted(classes.dropna().unique())
        message = (
            "data_source must contain one folder per class, for at least two classes, or train, val and test folders "
            f"that contain the class folders; {uri} has"
        )
        raise SensitiveValueError(f"{message} {', '.join(names) or 'none'}", f"{message} {len(names)}")
    split_names = parts.map(lambda part: part[0] if has_splits and len(part) > 1 else "").astype("string")
    return FolderLabels(classes, splits.official_splits(split_names, uri))


def _check_no_class_beside_splits(folders: list[str], uri: str) -> None:
    """Rejects a tree that was unpacked into itself, whose splits would be learned as classes.

    Raises:
        SensitiveValueError: At least two folders name splits, and others do not.
    """
    order = list(splits.NAMES)
    parts = [name for name in folders if name.lower() in order]
    parts.sort(key=lambda name: order.index(name.lower()))
    others = [name for name in folders if name not in parts]
    if len(parts) < 2 or not others:
        return
    message = f"data_source must contain splits or classes, got both: in {uri}, {_listed(parts)} stand beside"
    which = "that folder or remove it" if len(others) == 1 else "one of these folders or remove them"
    raise SensitiveValueError(
        f"{message} the folder{'s' * (len(others) > 1)} {_listed(others)}: give {which}",
        f"{message} {len(others)} other folders: give {which}",
    )


def _check_no_copy_of_classes(folders: set[tuple[str, str]], tops: list[str], uri: str) -> None:
    """Rejects a copy of the class folders in a folder beside them, which would be learned as a class.

    Args:
        folders: top folder and the one below it of each file.
        tops: the top folders.
        uri: the dataset.

    Raises:
        SensitiveValueError: A folder contains folders that are named as at least two others beside it.
    """
    for copy in tops:
        classes = [top for top in tops if top != copy and (copy, top) in folders]
        if len(classes) > 1:
            message = f"data_source must contain each class once: in {uri},"
            raise SensitiveValueError(
                f"{message} {_listed(classes)} stand beside the folder {copy}, which contains folders of the same "
                "names: give that folder or remove it",
                f"{message} {len(classes)} folders have copies in one beside them: give that folder or remove it",
            )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def kermany_patient(path: str) -> str:
    """Returns the patient id in a file name of Kermany's dataset, or "" for any other name.

    Example:
        >>> kermany_patient("train/PNEUMONIA/person1_bacteria_2.jpeg")
        'person1_bacteria'
    """
    stem = path.rpartition("/")[2].rpartition(".")[0]
    return next((match[1] for pattern in PATIENTS if (match := pattern.fullmatch(stem))), "")
