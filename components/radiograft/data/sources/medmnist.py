"""Reader of MedMNIST: one .npz file with the images and labels of three splits, gray or color, of any size.

The images stay in the file: a row's `uri` names the file, the array and the row of the array.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from radiograft.config import NO_FINDING
from radiograft.data.catalog import exclusion
from radiograft.data.sources.base import NO_PATIENTS, Source
from radiograft.storage import npz_archive

log = logging.getLogger(__name__)

SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read(uri: str, names: Sequence[str]) -> Source:
    """Reads an .npz file, local or in a bucket, and keeps its splits. At most one image is in memory.

    Args:
        uri: The .npz file.
        names: Names of the labels. A single name stands for label 1 of the labels 0 and 1. Otherwise one name per
            class in the order of the class numbers, or one per column of 0 and 1. An image without any of them has
            `No Finding`.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not an .npz or is corrupt, arrays are missing or malformed, or the number of names
            differs from the number of classes.
    """
    if not uri.endswith(".npz"):
        raise ValueError(f"data_source must be a MedMNIST file, which ends in .npz, got {uri!r}; pass the file itself")
    with npz_archive.open_npz(uri) as archive:
        labels = np.concatenate([_read_labels(archive, part, names) for part in SPLITS])
        present = _decode_labels(labels, names, uri)
        _log_classes(labels, names)
        rows = pd.concat([_image_rows(archive, part) for part in SPLITS], ignore_index=True)
    findings = pd.DataFrame(present.astype("float64"), columns=list(names))
    if NO_FINDING not in findings:
        findings[NO_FINDING] = 1.0 - findings.max(axis="columns")
    rows = rows.sort_values("image_id")
    findings = findings.loc[rows.index].reset_index(drop=True)
    return Source(uri, rows.reset_index(drop=True), findings, exclusion([], ""), (NO_PATIENTS,))


def _read_labels(archive: npz_archive.NpzArchive, part: str, names: Sequence[str]) -> np.ndarray:
    """Reads the labels of a split, integers [images, 1 or names], after checking shapes and dtypes in the headers."""
    images, labels = (archive.header(f"{part}_{kind}") for kind in ("images", "labels"))
    gray, color = len(images.shape) == 3, len(images.shape) == 4 and images.shape[3] == 3
    if images.dtype != np.uint8 or not (gray or color):
        raise ValueError(
            f"{part}_images in {archive.uri} must be uint8 [images, height, width] or, in color, [images, height, "
            f"width, 3], got {_describe(images)}; volumes are not supported"
        )
    count = images.shape[0]
    if labels.dtype.kind not in "iu" or len(labels.shape) != 2 or labels.shape[0] != count:
        raise ValueError(
            f"{part}_labels in {archive.uri} must be integers [{count}, columns], one row per image, "
            f"got {_describe(labels)}"
        )
    if labels.shape[1] not in (1, len(names)):
        raise ValueError(
            f"data_labels must name the {labels.shape[1]} columns of {part}_labels in {archive.uri} in their order, "
            f"separated by commas, got {len(names)}: {', '.join(names)}"
        )
    return archive.read(f"{part}_labels")


def _log_classes(labels: np.ndarray, names: Sequence[str]) -> None:
    """Logs the number or column and the count of each name, so that names in a wrong order stand out."""
    if labels.shape[1] > 1:
        for column, name in enumerate(names):
            log.info("column %d is %r: %d of %d images", column, name, labels[:, column].sum(), len(labels))
        return
    meanings = dict(enumerate(names)) if len(names) > 1 else {0: f"not {names[0]}", 1: names[0]}
    for number, name in meanings.items():
        log.info("class %d is %r: %d of %d images", number, name, (labels == number).sum(), len(labels))


def _describe(header: npz_archive.NpyHeader) -> str:
    return f"{header.dtype} {list(header.shape)}"


def _decode_labels(labels: np.ndarray, names: Sequence[str], uri: str) -> np.ndarray:
    """Converts labels, integers [images, 1 or names], to bool [images, names].

    Raises:
        ValueError: The labels are not class numbers, or the number of classes differs from the number of names.
    """
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if lowest < 0 or (labels.shape[1] > 1 and highest > 1):
        raise ValueError(
            f"labels in {uri} must be class numbers from 0 in one column, or 0 and 1 in several, got {lowest} to "
            f"{highest} in {labels.shape[1]}"
        )
    has_class_numbers = labels.shape[1] < len(names)
    has_valid_classes = highest + 1 == len(names) if has_class_numbers else highest <= 1
    if not has_valid_classes:
        raise ValueError(
            f"data_labels must name the {highest + 1} classes 0 to {highest} of {uri} in this order, separated by "
            f"commas, got {len(names)}: {', '.join(names)}"
        )
    return np.asarray(labels == (np.arange(len(names)) if has_class_numbers else 1))


def _image_rows(archive: npz_archive.NpzArchive, part: str) -> pd.DataFrame:
    """Returns a split's rows. Numbers in ids are zero-padded, so that ids sort in the order of the images."""
    name = f"{part}_images"
    shape = archive.header(name).shape
    checksums = [hashlib.md5(pixels.tobytes(), usedforsecurity=False).hexdigest() for pixels in archive.rows(name)]
    image_ids = [f"{part}-{row:0{len(str(shape[0]))}d}" for row in range(len(checksums))]
    frame = pd.DataFrame(
        {
            "image_id": image_ids,
            "uri": [npz_archive.row_uri(archive.uri, name, row) for row in range(len(checksums))],
            "md5": checksums,
            "patient_id": image_ids,
            "view": None,
            "sex": None,
            "official": SPLITS[part],
        },
        dtype="string",
    )
    return frame.assign(bytes=int(np.prod(shape[1:])), age=np.nan)
