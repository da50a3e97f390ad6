"""How much of a heat map lies inside a mask of the image, such as of the lungs, beside the controls.

A network that finds a lung disease should look at the lungs. A share near that of a map that ignores the image means
that it uses something else, such as letters or the image's origin.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from radiograft import storage
from radiograft.data import table_files
from radiograft.data.catalog import label_column
from radiograft.data.image_loader import decode_content
from radiograft.data.shards.dataset import Shards
from radiograft.data.sources.masks import image_stem
from radiograft.explain.class_activation import HeatMaps
from radiograft.explain.localization import CONTROLS, iter_maps
from radiograft.imaging.geometry import GRAY, ImageInput, boxes_in_square
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.exact_intervals import proportion_interval
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.analysis_types import LabelMaskShare, MaskShare

MAX_IMAGES = 500  # of a label
BOX_SUFFIX = "_box"  # of the columns of a table that hold boxes


def find_masks(source: str, rows: pd.DataFrame, target: ImageInput) -> dict[str, Callable[[], np.ndarray]]:
    """Returns for each image that has a mask a function that reads it, bool [size, size].

    Args:
        source: folder of masks, see `find_mask_files`, or table of boxes, see `read_boxes`.
        rows: the images, with image_id and, for boxes, `height` and `width` in pixels.
        target: the square to which the images were converted.

    Raises:
        ValueError: no image has a mask, or the table is malformed.
    """
    if table_files.is_table(source):
        boxes = read_boxes(source, rows, target)
        return {image_id: partial(_fill_boxes, corners, target.size) for image_id, corners in boxes.items()}
    files = find_mask_files(source, list(rows["image_id"]))
    return {image_id: partial(read_mask, uri, target) for image_id, uri in files.items()}


def read_boxes(uri: str, rows: pd.DataFrame, target: ImageInput) -> dict[str, np.ndarray]:
    """Reads the boxes of a table whose first column names the image, with or without suffix and folder.

    Each column whose name ends in `_box` has a box as `x y width height`, in pixels of the image, or nothing.

    Returns:
        Boxes by image, [boxes, 4]: x and y of the upper left corner, width, height; fractions of the square.

    Raises:
        ValueError: there is no column of boxes, a box is not four numbers, or no image has a box.
    """
    table = table_files.read(uri, storage.read_bytes(uri))
    columns = [name for name in table if str(name).endswith(BOX_SUFFIX)]
    if not columns:
        raise ValueError(f"evaluate_masks must name a table with columns that end in `{BOX_SUFFIX}`, got {uri!r}")
    cells = [[cell for cell in row if cell.strip()] for row in table[columns].itertuples(index=False)]
    by_stem = dict(zip(table.iloc[:, 0].map(lambda name: PurePosixPath(name).stem), cells, strict=True))
    found = {}
    for image_id, height, width in zip(rows["image_id"], rows["height"], rows["width"], strict=True):
        if texts := by_stem.get(PurePosixPath(image_id).stem):
            boxes = np.array([_parse_box(text) for text in texts]) / [width, height, width, height]
            found[image_id] = boxes_in_square(boxes, np.array([[height, width]] * len(boxes)), target)
    if not found:
        raise ValueError(
            f"evaluate_masks must have boxes of test images, but none of {len(table):,} rows of {uri!r} is"
        )
    return found


def _parse_box(text: str) -> list[float]:
    try:
        x, y, width, height = (float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise ValueError(f"evaluate_masks must have boxes as `x y width height` in pixels, got {text!r}") from None
    return [x, y, width, height]


def _fill_boxes(boxes: np.ndarray, size: int) -> np.ndarray:
    """Returns which pixels of a square have their center inside any of the boxes, bool [size, size]."""
    centers = (np.arange(size) + 0.5) / size
    x, y, width, height = (part[:, None] for part in boxes.T)
    columns, lines = (centers >= x) & (centers < x + width), (centers >= y) & (centers < y + height)
    inside: np.ndarray = (lines[:, :, None] & columns[:, None, :]).any(axis=0)
    return inside


def find_mask_files(folder: str, image_ids: Sequence[str]) -> dict[str, str]:
    """Returns the URI of the mask of each image that has one.

    A mask has the name of its image, which may end in `_mask` or `_segmentation`; suffixes and folders are ignored.

    Args:
        folder: path or URI of the masks.
        image_ids: IDs of images.

    Raises:
        ValueError: no image has a mask.
    """
    masks = {image_stem(entry.name): entry.uri for entry in storage.list_files(folder)}
    found = {image_id: masks[stem] for image_id in image_ids if (stem := PurePosixPath(image_id).stem) in masks}
    if not found:
        raise ValueError(
            f"evaluate_masks must contain masks named as the test images, but none of {len(masks):,} files in "
            f"{folder!r} is: name a folder with files such as `<image>.png` or `<image>_mask.png`"
        )
    return found


def read_mask(uri: str, target: ImageInput) -> np.ndarray:
    """Returns the mask as bool [size, size], converted to the square as the image is.

    Raises:
        ValueError: the file is not an image.
    """
    plain = target._replace(channels=GRAY, gray_range=None, enlarged_by=None)
    loaded = decode_content(storage.read_bytes(uri), plain)
    if loaded.image is None:
        raise ValueError(f"evaluate_masks must contain images, but {uri!r} is not an image")
    mask: np.ndarray = loaded.image[..., 0] > loaded.image.max() / 2
    return mask


def share_inside(heat: np.ndarray, mask: np.ndarray) -> float:
    """Returns the fraction of the heat that is inside the mask, NaN for a map without heat.

    Args:
        heat: float32 [size, size], 0 to 1.
        mask: bool [size, size].

    Example:
        >>> share_inside(np.array([[1.0, 0.5], [0.5, 0.0]]), np.array([[True, False], [False, False]]))
        0.5
    """
    total = float(heat.sum(dtype="float64"))
    return float(heat[mask].sum(dtype="float64")) / total if total else float("nan")


def score_masks(data: Shards, source: str, heat_maps: HeatMaps, samples: int, seed: int) -> MaskShare:
    """Returns the share of heat inside the masks for each label, on the test images that have the label and a mask.

    Args:
        source: path or URI of the masks, see `find_masks`.
        samples: number of patient resamples for each 95% interval.
        seed: seed of the resampling and of the random maps.

    Raises:
        ValueError: no test image has a mask, or a mask is not an image.
    """
    rows = data.split("test")
    masks = find_masks(source, rows, data.image_input)
    labels = {}
    for index, label in enumerate(data.labels):
        shown = rows[label_column(label)].eq(1) & rows["image_id"].isin(list(masks))
        positions = [int(position) for position in np.flatnonzero(shown)[:MAX_IMAGES]]
        if positions:
            labels[label] = _score_label(data, positions, masks, heat_maps, index, samples, seed)
    return MaskShare(split="test", labels=labels)


def _score_label(
    data: Shards,
    positions: list[int],
    masks: dict[str, Callable[[], np.ndarray]],
    heat_maps: HeatMaps,
    label: int,
    samples: int,
    seed: int,
) -> LabelMaskShare:
    rows = data.split("test").iloc[positions]
    areas = [masks[image_id]() for image_id in rows["image_id"]]
    heats = iter_maps(data, "test", positions, heat_maps, label, seed)
    shares = np.array(
        [
            [mask.mean(), *(np.mean([share_inside(heat, mask) for heat in kind]) for kind in maps)]
            for mask, maps in zip(areas, heats, strict=True)
        ]
    )
    patients = encode_patients(rows["patient_id"])
    known = ~np.isnan(shares)

    def means(weights: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore"):  # a resample may lack maps with heat
            result: FloatArray = weights @ np.where(known, shares, 0.0) / (weights @ known)
        return result

    n_patients = int(patients.max()) + 1
    resampled = bootstrap_by_patient(patients, means, samples, seed)
    area, *by_map = (
        percentile_interval(column, partial(proportion_interval, trials=n_patients)) for column in resampled.T
    )
    names = (*heat_maps.names, *CONTROLS)
    return LabelMaskShare(
        n_images=len(positions), n_patients=n_patients, area=area, maps=dict(zip(names, by_map, strict=True))
    )
