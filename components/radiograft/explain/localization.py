"""Whether heat maps lie where radiologists drew boxes, scored as Wang et al. 2017 (ChestX-ray8) do, beside controls.

Boxes around the connected hot regions are held against the drawn ones by IoU (intersection over union) and IoBB
(intersection over the area of the region's box). A drawn box is found where one of them overlaps it by more than a
share; a region's box that finds none is a false positive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypedDict

import numpy as np
import pandas as pd
from scipy import ndimage

from radiograft.data.catalog import CORNERS
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import BATCH_SIZE, HeatMaps, class_activation
from radiograft.metrics.bootstrap import Estimate, bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.ranking import FloatArray

HEAT_THRESHOLDS = (60 / 255, 180 / 255)  # Wang et al.'s, each by itself; fixed, so that no test image chooses them
OVERLAPS = (0.1, 0.25, 0.5)
MEASURES = ("iou", "iobb")
MAPS = ("grad_cam", "layer_cam", "centre", "random")  # the last two are the controls
CENTER_WIDTH = 0.25  # standard deviation of the center map, as a fraction of the image
RANDOM_MAPS = 5  # an image, so that its chance hits are an average


class Score(TypedDict):
    """At one overlap: the share of the drawn boxes that were found, and the false positives an image."""

    overlap: float
    accuracy: Estimate
    false_positives: Estimate


class LabelLocalization(TypedDict):
    """One label: map -> measure (`iou`, `iobb`) -> one score an overlap."""

    n_images: int
    n_patients: int
    n_boxes: int
    maps: dict[str, dict[str, list[Score]]]


class Localization(TypedDict):
    """All labels that have boxes in the split."""

    split: str
    heat_thresholds: list[float]
    overlaps: list[float]
    labels: dict[str, LabelLocalization]


def localize(data: Shards, heat_maps: HeatMaps, samples: int, seed: int) -> Localization | None:
    """Scores the heat maps on test, or on validation where test has no boxes; None where neither has.

    Args:
        samples: resamplings of patients behind each 95 % interval.
        seed: of the resampling and of the random maps.
    """
    for split in ("test", "validation"):
        found = {
            label: _score_label(data, split, boxed, heat_maps, number, samples, seed)
            for number, label in enumerate(data.labels)
            if len(boxed := _boxed(data, split, label))
        }
        if found:
            return Localization(
                split=split, heat_thresholds=list(HEAT_THRESHOLDS), overlaps=list(OVERLAPS), labels=found
            )
    return None


def heat_boxes(heat: np.ndarray) -> FloatArray:
    """Boxes around the connected regions at or above each heat threshold.

    Args:
        heat: float32 [size, size], 0 to 1.

    Returns:
        [boxes, 4], each x and y of the upper left corner, width and height as fractions of the image.
    """
    regions = [region for level in HEAT_THRESHOLDS for region in ndimage.find_objects(ndimage.label(heat >= level)[0])]
    corners = [(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in regions]
    return np.unique(np.array(corners, dtype="float64").reshape(-1, 4), axis=0) / len(heat)


def overlaps(hot: FloatArray, drawn: FloatArray) -> FloatArray:
    """IoU and IoBB of every hot box with every drawn one, 0 to 1.

    Args:
        hot: [h, 4], boxes as `hot_boxes` gives them.
        drawn: [d, 4].

    Returns:
        [2, h, d], in the order of MEASURES.
    """
    ends = [np.minimum(hot[:, None, i] + hot[:, None, i + 2], drawn[:, i] + drawn[:, i + 2]) for i in (0, 1)]
    starts = [np.maximum(hot[:, None, i], drawn[:, i]) for i in (0, 1)]
    width, height = (np.clip(end - start, 0, None) for start, end in zip(starts, ends, strict=True))
    shared = width * height
    hot_area, drawn_area = (hot[:, 2] * hot[:, 3])[:, None], drawn[:, 2] * drawn[:, 3]
    return np.stack([shared / (hot_area + drawn_area - shared), shared / hot_area])


def _boxed(data: Shards, split: str, label: str) -> Mapping[int, FloatArray]:
    """Boxes [boxes, 4] of a label by the image's place in the stored order of the split, in that order."""
    places = pd.Series(range(len(data.split(split))), index=data.split(split)["image_id"], name="place")
    boxes = data.boxes[data.boxes["finding"] == label].join(places, on="image_id", how="inner")
    return {
        place: boxes.loc[boxes["place"] == place, CORNERS].to_numpy("float64")
        for place in sorted(set(boxes["place"].tolist()))
    }


def _score_label(
    data: Shards,
    split: str,
    boxed: Mapping[int, FloatArray],
    heat_maps: HeatMaps,
    label: int,
    samples: int,
    seed: int,
) -> LabelLocalization:
    heats = _all_maps(data, split, list(boxed), heat_maps, label, seed)
    counts = np.stack([_count(heat, drawn) for heat, drawn in zip(heats, boxed.values(), strict=True)])
    # To count the drawn boxes and the images themselves with each resample, which the rates are divided by.
    sizes = np.array([[len(drawn), 1] for drawn in boxed.values()], dtype="float64")
    patients = encode_patients(data.split(split)["patient_id"].iloc[list(boxed)])

    def per_box_and_image(weights: FloatArray) -> FloatArray:
        rates: FloatArray = np.tensordot(weights, counts, 1) / (weights @ sizes)[:, None, None, None]
        return rates

    found = bootstrap_by_patient(patients, per_box_and_image, samples, seed)
    return LabelLocalization(
        n_images=len(boxed),
        n_patients=int(patients.max()) + 1,
        n_boxes=int(sizes[:, 0].sum()),
        maps={
            name: {measure: _scores(found[:, place, row]) for row, measure in enumerate(MEASURES)}
            for place, name in enumerate(MAPS)
        },
    )


def _scores(found: FloatArray) -> list[Score]:
    return [
        Score(
            overlap=overlap,
            accuracy=percentile_interval(found[:, place, 0]),
            false_positives=percentile_interval(found[:, place, 1]),
        )
        for place, overlap in enumerate(OVERLAPS)
    ]


def _all_maps(
    data: Shards, split: str, places: list[int], heat_maps: HeatMaps, label: int, seed: int
) -> Iterator[list[np.ndarray]]:
    """For each image the maps in the order of MAPS, [1 or more, size, size] each."""
    generator, size = np.random.default_rng([seed, label]), data.image_size
    center = _center_map(size)
    for maps in heat_maps.stream(data.chosen(split, places).batch(BATCH_SIZE), label):
        for grad_cam, layer_cam in zip(*maps, strict=True):
            noise = generator.random((RANDOM_MAPS, *heat_maps.cells), dtype="float32")
            yield [grad_cam[None], layer_cam[None], center, np.asarray(class_activation(noise, size))]


def _center_map(size: int) -> np.ndarray:
    """A bell in the middle, which knows where findings tend to be and nothing of the image: [1, size, size]."""
    away = ((np.arange(size) + 0.5) / size - 0.5) / CENTER_WIDTH
    heat = np.exp(-(away**2 + away[:, None] ** 2) / 2)
    return np.asarray(heat / heat.max())[None]


def _count(maps: list[np.ndarray], drawn: FloatArray) -> FloatArray:
    """Drawn boxes found and false positives of one image, [maps, measures, overlaps, 2]."""
    return np.stack([np.mean([_count_one(heat, drawn) for heat in heats], axis=0) for heats in maps])


def _count_one(heat: np.ndarray, drawn: FloatArray) -> FloatArray:
    above = overlaps(heat_boxes(heat), drawn)[:, None] > np.array(OVERLAPS)[:, None, None]  # [measure, overlap, h, d]
    return np.stack([above.any(axis=2).sum(axis=2), (~above.any(axis=3)).sum(axis=2)], axis=-1).astype("float64")
