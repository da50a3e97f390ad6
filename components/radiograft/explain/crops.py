"""The crops of an attention-guided network, drawn on images, and the section of the report about its branches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radiograft.data.catalog import label_column
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import blend
from radiograft.explain.gallery import SIDE, Call, Figure
from radiograft.registry.results import EvaluationResults
from radiograft.reporting.html import ReportSection

CROPS = "crops"  # group of the images in TensorBoard
MAX_CROPS = 10


def draw_crops(boxes: np.ndarray | None, split: str, data: Shards) -> list[Figure]:
    """Draws the crops of up to MAX_CROPS images, evenly spaced in stored order, those with a label if there are some.

    Args:
        boxes: float32 [images, 4] of the split: x and y of the upper left corner, width, height; None for a network
            without crops.
        split: name of the split.
        data: the shards.
    """
    if boxes is None:
        return []
    rows = data.split(split)
    positive = rows[[label_column(label) for label in data.labels]].eq(1).any(axis=1).to_numpy()
    (candidates,) = np.nonzero(positive if positive.any() else np.ones(len(rows), bool))
    places = candidates[np.unique(np.linspace(0, len(candidates) - 1, MAX_CROPS).round().astype(int))]
    images = data.chosen(split, places.tolist()).as_numpy_iterator()
    return [
        Figure(
            Call(int(place), str(rows["image_id"][place]), float("nan")),
            blend(image, None, [boxes[place].tolist()], SIDE),
            f"{rows['image_id'][place]} with the crop of the local branch",
        )
        for place, image in zip(places, images, strict=True)
    ]


def branch_sections(results: EvaluationResults, crops: Sequence[Figure]) -> list[ReportSection]:
    """Returns the report section about the branches; none for a network with one branch."""
    comparison = results.get("branches")
    return [ReportSection("branches.html.j2", {**comparison, "crops": crops})] if comparison else []
