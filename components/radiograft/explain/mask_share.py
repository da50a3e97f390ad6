"""How much of a heat map lies inside a mask of the image, such as of the lungs, beside the controls.

A network that finds a lung disease should look at the lungs. A share near that of a map that ignores the image means
that it uses something else, such as letters or the image's origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

import numpy as np

from radiograft import storage
from radiograft.data.catalog import label_column
from radiograft.data.image_loader import decode_content
from radiograft.data.shards.dataset import Shards
from radiograft.data.sources.masks import image_stem
from radiograft.explain.class_activation import HeatMaps
from radiograft.explain.localization import CONTROLS, iter_maps
from radiograft.imaging.geometry import GRAY, ImageInput
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.exact_intervals import proportion_interval
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.analysis_types import LabelMaskShare, MaskShare

MAX_IMAGES = 500  # of a label


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


def score_masks(data: Shards, folder: str, heat_maps: HeatMaps, samples: int, seed: int) -> MaskShare:
    """Returns the share of heat inside the masks for each label, on the test images that have the label and a mask.

    Args:
        folder: path or URI of the masks, see `find_mask_files`.
        samples: number of patient resamples for each 95% interval.
        seed: seed of the resampling and of the random maps.

    Raises:
        ValueError: no test image has a mask, or a mask is not an image.
    """
    rows = data.split("test")
    masks = find_mask_files(folder, list(rows["image_id"]))
    labels = {}
    for index, label in enumerate(data.labels):
        shown = rows[label_column(label)].eq(1) & rows["image_id"].isin(list(masks))
        positions = [int(position) for position in np.flatnonzero(shown)[:MAX_IMAGES]]
        if positions:
            labels[label] = _score_label(data, positions, masks, heat_maps, index, samples, seed)
    return MaskShare(split="test", labels=labels)


def _score_label(
    data: Shards, positions: list[int], masks: dict[str, str], heat_maps: HeatMaps, label: int, samples: int, seed: int
) -> LabelMaskShare:
    rows = data.split("test").iloc[positions]
    areas = [read_mask(masks[image_id], data.image_input) for image_id in rows["image_id"]]
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
