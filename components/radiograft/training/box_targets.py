"""Boxes as targets at the positions of a class map, for `radiograft.training.tasks.boxes.BoxTask`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

from radiograft.data.catalog import CORNERS
from radiograft.data.shards.dataset import Shards
from radiograft.data.sources.boxes import check_training_boxes
from radiograft.models.class_maps import CLASS_MAP
from radiograft.models.graph import read_output_of
from radiograft.training.activation_cache import CachedActivations


def with_class_map(classifier: keras.Model) -> keras.Model:
    """Returns the classifier with the logits of its class map behind the probabilities, float32 [n, numbers]."""
    flat = keras.layers.Flatten(dtype="float32")(read_output_of(classifier, CLASS_MAP))
    outputs = keras.layers.Concatenate(dtype="float32")([classifier.output, flat])
    return keras.Model(classifier.input, outputs, name=classifier.name)


def with_boxes(activations: CachedActivations, data: Shards, split: str, shape: Sequence[int]) -> CachedActivations:
    """Returns the activations with the targets at the positions of the class map behind the labels.

    Raises:
        ValueError: no training image has a box.
    """
    check_training_boxes(data.rows, data.boxes, data.labels)
    height, width = shape
    targets = box_targets(data, split, height, width)
    return dataclasses.replace(activations, truth=np.concatenate([activations.truth, targets], axis=1))


def box_targets(data: Shards, split: str, height: int, width: int) -> np.ndarray:
    """Returns the target of each label at each position, float32 [images, height x width x labels].

    It is 1 where a box of the label touches the position, else 0, and NaN if the image has no box of the label.

    Args:
        data: the shards, whose boxes are fractions of the square image.
        split: name of the split.
        height, width: positions of the class map.
    """
    ids = data.split(split)["image_id"]
    rows, columns = dict(zip(ids, range(len(ids)), strict=True)), {name: n for n, name in enumerate(data.labels)}
    targets = np.full((len(ids), height, width, len(data.labels)), np.nan, dtype="float32")
    shown = data.boxes[data.boxes["image_id"].isin(list(rows)) & data.boxes["finding"].isin(data.labels)]
    corners = shown[CORNERS].to_numpy("float64")
    for image_id, finding, (x, y, wide, high) in zip(shown["image_id"], shown["finding"], corners, strict=True):
        target = targets[rows[image_id], :, :, columns[finding]]
        target[np.isnan(target)] = 0.0
        target[np.outer(_touched(y, high, height), _touched(x, wide, width))] = 1.0
    return targets.reshape(len(ids), -1)


def _touched(start: float, length: float, cells: int) -> np.ndarray:
    """Returns which cells of equal length an interval overlaps, bool [cells]; both are fractions of the side."""
    edges = np.arange(cells) / cells
    overlaps: np.ndarray = (edges < start + length) & (edges + 1 / cells > start)
    return overlaps
