"""Localization accuracy: heat maps compared with the boxes that radiologists annotated, beside two controls.

As in Wang et al. 2017 (ChestX-ray8), the bounding boxes of connected hot regions are compared with the annotated boxes
by IoU (intersection over union) and IoBB (intersection over the area of the predicted box). An annotated box is found
if a predicted box overlaps it by more than a given fraction. A predicted box that finds none is a false positive. The
pointing game scores the hottest pixel alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import numpy as np
import pandas as pd
from scipy import ndimage

from radiograft.data.catalog import CORNERS
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import BATCH_SIZE, HeatMaps, class_activation
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.exact_intervals import proportion_interval, rate_interval
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.analysis_types import LabelLocalization, Localization, Score

HEAT_THRESHOLDS = (60 / 255, 180 / 255)  # those of Wang et al., not tuned on any image
OVERLAPS = (0.1, 0.25, 0.5)
MEASURES = ("iou", "iobb")
CONTROLS = ("centre", "random")  # maps that ignore the image; stored names
CENTER_WIDTH = 0.25  # standard deviation of the center map, as a fraction of the image
RANDOM_MAPS = 5  # per image; their scores are averaged


def localize(data: Shards, heat_maps: HeatMaps, samples: int, seed: int) -> Localization | None:
    """Scores the heat maps on test, or on validation if test has no boxes. Returns None if neither has boxes.

    Args:
        samples: number of patient resamples for each 95% interval.
        seed: seed of the resampling and of the random maps.
    """
    for split in ("test", "validation"):
        boxes = {label: _boxes_by_position(data, split, label) for label in data.labels}
        scores = {
            label: _score_label(data, split, boxes[label], heat_maps, index, samples, seed)
            for index, label in enumerate(data.labels)
            if boxes[label]
        }
        if scores:
            return Localization(
                split=split, heat_thresholds=list(HEAT_THRESHOLDS), overlaps=list(OVERLAPS), labels=scores
            )
    return None


def heat_boxes(heat: np.ndarray) -> FloatArray:
    """Returns the bounding boxes of the connected regions at or above each heat threshold.

    Args:
        heat: float32 [size, size], 0 to 1.

    Returns:
        [boxes, 4]: x and y of the upper left corner, width, height; fractions of the image.
    """
    regions = [region for level in HEAT_THRESHOLDS for region in ndimage.find_objects(ndimage.label(heat >= level)[0])]
    corners = [(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in regions]
    return np.unique(np.array(corners, dtype="float64").reshape(-1, 4), axis=0) / len(heat)


def overlaps(predicted: FloatArray, annotated: FloatArray) -> FloatArray:
    """Returns IoU and IoBB of every predicted box with every annotated box, 0 to 1.

    Args:
        predicted: [p, 4] boxes from `heat_boxes`.
        annotated: [a, 4] boxes.

    Returns:
        [2, p, a], in the order of MEASURES.
    """
    predicted_ends, annotated_ends = (boxes[:, :2] + boxes[:, 2:] for boxes in (predicted, annotated))
    ends = np.minimum(predicted_ends[:, None], annotated_ends)
    starts = np.maximum(predicted[:, None, :2], annotated[:, :2])
    intersection = np.clip(ends - starts, 0, None).prod(axis=-1)
    predicted_area, annotated_area = (boxes[:, 2] * boxes[:, 3] for boxes in (predicted, annotated))
    union = predicted_area[:, None] + annotated_area - intersection
    return np.stack([intersection / union, intersection / predicted_area[:, None]])


def _boxes_by_position(data: Shards, split: str, label: str) -> dict[int, FloatArray]:
    """Returns the boxes [boxes, 4] of a label by the position of the image in the split, ascending."""
    positions = pd.Series(range(len(data.split(split))), index=data.split(split)["image_id"], name="position")
    boxes = data.boxes[data.boxes["finding"] == label].join(positions, on="image_id", how="inner")
    return {
        position: boxes.loc[boxes["position"] == position, CORNERS].to_numpy("float64")
        for position in sorted(set(boxes["position"].tolist()))
    }


def _score_label(
    data: Shards,
    split: str,
    boxes: Mapping[int, FloatArray],
    heat_maps: HeatMaps,
    label: int,
    samples: int,
    seed: int,
) -> LabelLocalization:
    heats = iter_maps(data, split, list(boxes), heat_maps, label, seed)
    measured = [_measure_image(maps, annotated) for maps, annotated in zip(heats, boxes.values(), strict=True)]
    counts, pointed = (np.stack(parts) for parts in zip(*measured, strict=True))
    # Denominators of both rates under each weighting: annotated boxes and images.
    sizes = np.array([[len(annotated), 1] for annotated in boxes.values()], dtype="float64")
    patients = encode_patients(data.split(split)["patient_id"].iloc[list(boxes)])

    def rates_per_box_and_image(weights: FloatArray) -> FloatArray:
        rates: FloatArray = np.tensordot(weights, counts, 1) / (weights @ sizes)[:, None, None, None]
        return rates

    def pointing_rates(weights: FloatArray) -> FloatArray:
        rates: FloatArray = weights @ pointed / weights.sum(axis=1, keepdims=True)
        return rates

    n_patients, names = int(patients.max()) + 1, (*heat_maps.names, *CONTROLS)
    rates = bootstrap_by_patient(patients, rates_per_box_and_image, samples, seed)
    pointing = bootstrap_by_patient(patients, pointing_rates, samples, seed)
    return LabelLocalization(
        n_images=len(boxes),
        n_patients=n_patients,
        n_boxes=int(sizes[:, 0].sum()),
        maps={
            name: {measure: _scores(rates[:, row, column], n_patients) for column, measure in enumerate(MEASURES)}
            for row, name in enumerate(names)
        },
        pointing={
            name: percentile_interval(pointing[:, row], partial(proportion_interval, trials=n_patients))
            for row, name in enumerate(names)
        },
    )


def _scores(rates: FloatArray, n_patients: int) -> list[Score]:
    return [
        Score(
            overlap=overlap,
            accuracy=percentile_interval(rates[:, index, 0], partial(proportion_interval, trials=n_patients)),
            false_positives=percentile_interval(rates[:, index, 1], partial(rate_interval, trials=n_patients)),
        )
        for index, overlap in enumerate(OVERLAPS)
    ]


def iter_maps(
    data: Shards, split: str, positions: list[int], heat_maps: HeatMaps, label: int, seed: int
) -> Iterator[list[np.ndarray]]:
    """Yields, for each image, its maps and then those of CONTROLS, each [1 or more, size, size]."""
    generator, size = np.random.default_rng([seed, label]), data.image_size
    center = _center_map(size)
    for maps in heat_maps.stream(data.chosen(split, positions).batch(BATCH_SIZE), label):
        for heats in maps.by_image():
            noise = generator.random((RANDOM_MAPS, *heat_maps.cells), dtype="float32")
            yield [*(heat[None] for heat in heats), center, np.asarray(class_activation(noise, size))]


def _center_map(size: int) -> np.ndarray:
    """Returns a Gaussian at the image center, [1, size, size]: a control that ignores the image."""
    distance = ((np.arange(size) + 0.5) / size - 0.5) / CENTER_WIDTH
    heat = np.exp(-(distance**2 + distance[:, None] ** 2) / 2)
    return np.asarray(heat / heat.max())[None]


def _measure_image(maps: list[np.ndarray], annotated: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Returns counts [maps, measures, overlaps, 2] of found boxes and false positives, and pointing scores [maps]."""
    counts = [np.mean([_count_hits_of_map(heat, annotated) for heat in heats], axis=0) for heats in maps]
    return np.stack(counts), np.array([np.mean([pointing_score(heat, annotated) for heat in heats]) for heats in maps])


def pointing_score(heat: np.ndarray, annotated: FloatArray) -> float:
    """Returns the score of the pointing game (Zhang et al. 2016): 1 if the hottest pixel is in a box, else 0.

    Of several hottest pixels it is the fraction that is in a box; of a map without heat it is 0.

    Args:
        heat: float32 [size, size], 0 to 1.
        annotated: [a, 4] boxes, fractions of the image.

    Example:
        >>> pointing_score(np.array([[0.0, 0.2], [1.0, 0.0]]), np.array([[0.0, 0.5, 0.5, 0.5]]))
        1.0
    """
    if not heat.any():
        return 0.0
    centers = (np.argwhere(heat == heat.max())[:, None, ::-1] + 0.5) / len(heat)  # x and y
    inside = (centers >= annotated[:, :2]) & (centers < annotated[:, :2] + annotated[:, 2:])
    return float(np.mean(np.any(np.all(inside, axis=2), axis=1)))


def _count_hits_of_map(heat: np.ndarray, annotated: FloatArray) -> FloatArray:
    # [measures, overlaps, predicted boxes, annotated boxes]
    overlapping = overlaps(heat_boxes(heat), annotated)[:, None] > np.array(OVERLAPS)[:, None, None]
    found, false_positives = overlapping.any(axis=2).sum(axis=2), (~overlapping.any(axis=3)).sum(axis=2)
    return np.stack([found, false_positives], axis=-1).astype("float64")
