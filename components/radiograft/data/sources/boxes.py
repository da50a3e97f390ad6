"""Boxes around findings that an archive gives in pixels of its DICOM files."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd

from radiograft import storage
from radiograft.config.data_policy import BOX_OUTSIDE, BOX_WITHOUT_SIZE
from radiograft.data.catalog import BOX_COLUMNS, CORNERS, exclusion
from radiograft.data.sources.base import Source


def check_training_boxes(rows: pd.DataFrame, boxes: pd.DataFrame, labels: Sequence[str]) -> None:
    """Checks that a network can learn from boxes.

    Args:
        rows: catalog rows.
        boxes: as `no_boxes`.
        labels: names of the labels.

    Raises:
        ValueError: no training image has a box of a label.
    """
    boxed = boxes["image_id"][boxes["finding"].isin(labels)]
    if not rows["image_id"][rows["split"].eq("train")].isin(boxed).any():
        raise ValueError(
            "train_box_weight needs training images with boxes of the labels, but there are none: set "
            "data_box_training_fraction to move some patients with boxes from test to training, or train_box_weight=0"
        )


def place_boxes(boxes: pd.DataFrame, uris: pd.Series[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Converts boxes from pixels of the stored image to fractions of the upright one, and clips them.

    Args:
        boxes: As `no_boxes`, in pixels.
        uris: URI of each image by its `image_id`.

    Returns:
        The boxes in the columns of `no_boxes`, each once, and the excluded boxes as `exclusion` rows.
    """
    by_image = list(boxes.groupby("image_id", sort=False))
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        placed = list(pool.map(lambda group: _place(group[1], str(uris[group[0]])), by_image))
    found = pd.concat([boxes.iloc[:0], *(part for part in placed if part is not None)])
    inside = (found["width"] > 0) & (found["height"] > 0)
    without_size = boxes["image_id"][~boxes["image_id"].isin(found["image_id"])]
    excluded = [exclusion(found["image_id"][~inside], BOX_OUTSIDE), exclusion(without_size, BOX_WITHOUT_SIZE)]
    return found[inside].astype(BOX_COLUMNS).drop_duplicates(ignore_index=True), pd.concat(excluded)


def _place(boxes: pd.DataFrame, uri: str) -> pd.DataFrame | None:
    """Places the boxes of one image; None if it is not a DICOM file."""
    from radiograft.imaging.dicom import UnsupportedDicomError, read_frame  # imports pydicom
    from radiograft.imaging.dicom_pixels import orient_boxes

    try:
        with storage.open_file(uri) as file:
            frame = read_frame(file)
    except (UnsupportedDicomError, FileNotFoundError):
        return None
    scale = np.array([frame.width, frame.height])
    starts = boxes[CORNERS[:2]].to_numpy("float64") / scale
    ends = starts + boxes[CORNERS[2:]].to_numpy("float64") / scale
    starts, ends = starts.clip(0, 1), ends.clip(0, 1)
    corners = orient_boxes(np.hstack([starts, ends - starts]), frame.orientation)
    return boxes.assign(**dict(zip(CORNERS, corners.T, strict=True)))


def without_refuted_boxes(source: Source) -> Source:
    """Returns the source without boxes of findings that the merged labels say are absent.

    One of several readers may have drawn them.
    """
    findings = source.findings.set_axis(source.rows["image_id"])

    def is_refuted(image_id: str, name: str) -> bool:
        return name in findings and image_id in findings.index and bool(findings.at[image_id, name] == 0.0)

    kept = [not is_refuted(*pair) for pair in zip(source.boxes["image_id"], source.boxes["finding"], strict=True)]
    return source._replace(boxes=source.boxes[np.array(kept, bool)].reset_index(drop=True))
