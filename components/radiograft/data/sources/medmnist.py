"""Reader of MedMNIST's files: one .npz with images and labels of three splits, gray or color, of any size.

The images stay where they are: a row's `uri` names the file, the array and the row in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from radiograft.config import NO_FINDING
from radiograft.data.catalog import exclusion
from radiograft.data.sources.base import NO_PATIENTS, Source
from radiograft.storage import npz_archive

SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read(uri: str, names: Sequence[str]) -> Source:
    """Reads an .npz, on disk or in a bucket, keeping its own splits; no more than one image is in memory.

    Args:
        names: what the labels mean. One name for labels 0 and 1, of which 1 is meant; else one for each class in order
            of its number, or for each column of 0 and 1. An image with none of them has `No Finding`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no .npz, a damaged one, arrays that are missing or not of MedMNIST's shapes, names that are not as
            many as the classes.
    """
    if not uri.endswith(".npz"):
        raise ValueError(f"data_source must be a MedMNIST file, which ends in .npz, got {uri!r}; give the file itself")
    with npz_archive.open_npz(uri) as archive:
        labels = np.concatenate([_labels(archive, part, names) for part in SPLITS])
        present = _present(labels, names, uri)
        rows = pd.concat([_images(archive, part) for part in SPLITS], ignore_index=True)
    findings = pd.DataFrame(present.astype("float64"), columns=list(names))
    if NO_FINDING not in findings:
        findings[NO_FINDING] = 1.0 - findings.max(axis="columns")
    rows = rows.sort_values("image_id")
    findings = findings.loc[rows.index].reset_index(drop=True)
    return Source(uri, rows.reset_index(drop=True), findings, exclusion([], ""), (NO_PATIENTS,))


def _labels(archive: npz_archive.NpzArchive, part: str, names: Sequence[str]) -> np.ndarray:
    """Labels of a split, integers [images, 1 or names]; shapes and kinds are looked at before anything is read."""
    images, labels = (archive.header(f"{part}_{kind}") for kind in ("images", "labels"))
    gray, color = len(images.shape) == 3, len(images.shape) == 4 and images.shape[3] == 3
    if images.dtype != np.uint8 or not (gray or color):
        raise ValueError(
            f"{part}_images in {archive.uri} must be uint8 [images, height, width] or, in color, [images, height, "
            f"width, 3], got {_kind(images)}; three-dimensional sets cannot be used"
        )
    count = images.shape[0]
    if labels.dtype.kind not in "iu" or len(labels.shape) != 2 or labels.shape[0] != count:
        raise ValueError(
            f"{part}_labels in {archive.uri} must be integers [{count}, columns], a row an image, got {_kind(labels)}"
        )
    if labels.shape[1] not in (1, len(names)):
        raise ValueError(
            f"data_labels must name the {labels.shape[1]} columns of {part}_labels in {archive.uri} in their order, "
            f"separated by commas, got {len(names)}: {', '.join(names)}"
        )
    return archive.read(f"{part}_labels")


def _kind(header: npz_archive.NpyHeader) -> str:
    return f"{header.dtype} {list(header.shape)}"


def _present(labels: np.ndarray, names: Sequence[str], uri: str) -> np.ndarray:
    """Which of the names each image has, bool [images, names], from integers [images, 1 or names].

    Raises:
        ValueError: labels that are no class numbers, or of more or fewer classes than there are names.
    """
    lowest, highest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if lowest < 0 or (labels.shape[1] > 1 and highest > 1):
        raise ValueError(
            f"labels in {uri} must be class numbers from 0 in one column, or 0 and 1 in several, got {lowest} to "
            f"{highest} in {labels.shape[1]}"
        )
    by_number = labels.shape[1] < len(names)
    if highest + 1 != len(names) if by_number else highest > 1:
        raise ValueError(
            f"data_labels must name the {highest + 1} classes 0 to {highest} of {uri} in this order, separated by "
            f"commas, got {len(names)}: {', '.join(names)}"
        )
    return np.asarray(labels == (np.arange(len(names)) if by_number else 1))


def _images(archive: npz_archive.NpzArchive, part: str) -> pd.DataFrame:
    """A split's rows. Numbers in ids are filled up with zeros, so that ids are in the order of the images."""
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
