"""Images of the report: the most confident errors, and heat maps of correct and incorrect predictions."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image

from radiograft.data.catalog import CORNERS, label_column, score_column
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import BATCH_SIZE, Box, HeatMaps, blend
from radiograft.metrics.class_decisions import predict_classes

MAX_LABELS = 3  # keeps the page small
WORST_ERRORS = 5
EXAMPLES = 4
SIDE = 192  # pixels of an image in the report
GAP = 4
QUALITY = 80  # JPEG


class Call(NamedTuple):
    """Prediction for one image and label at the threshold; `position` is the position of the image in the split."""

    position: int
    image_id: str
    score: float


class Figure(NamedTuple):
    """A prediction as the report shows it; `pixels` are uint8 [height, width, 3]."""

    call: Call
    pixels: np.ndarray
    alt: str

    @property
    def jpeg(self) -> bytes:
        """Returns the pixels as an encoded JPEG file."""
        content = io.BytesIO()
        Image.fromarray(self.pixels).save(content, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
        return content.getvalue()


class LabelFigures(NamedTuple):
    """Figures of one label: outcome (such as `false positives`) -> figures, the most confident prediction first.

    `worst` are errors without heat maps, `heat_maps` are strips with heat maps.
    """

    label: str
    worst: Mapping[str, Sequence[Figure]]
    heat_maps: Mapping[str, Sequence[Figure]]

    def images(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields group name and pixels, uint8 [height, width, 3], of every figure, group by group.

        Names do not contain image ids, because an id may be a path that identifies the patient.
        """
        for kind, outcomes in (("worst calls", self.worst), ("heat maps", self.heat_maps)):
            for outcome, figures in outcomes.items():
                for figure in figures:
                    yield f"{kind}/{self.label}/{outcome}", figure.pixels


def decide_labels(
    predictions: pd.DataFrame, labels: Sequence[str], thresholds: Mapping[str, float], *, exclusive: bool
) -> dict[str, NDArray[np.bool_]]:
    """Returns which images are predicted positive, (n,), by label: at or above its threshold, or by highest score.

    Args:
        predictions: predictions with the columns of `prediction_frame`.
        labels: all labels.
        thresholds: label -> threshold; a label without one is left out.
        exclusive: whether the labels are exclusive classes, which have no thresholds.
    """
    if exclusive:
        highest = predict_classes(predictions[[score_column(label) for label in labels]].to_numpy("float64"))
        return {label: highest == index for index, label in enumerate(labels)}
    return {label: predictions[score_column(label)].to_numpy() >= value for label, value in thresholds.items()}


def classify_predictions(predictions: pd.DataFrame, label: str, positive: NDArray[np.bool_]) -> dict[str, list[Call]]:
    """Groups the predictions for a label by outcome, the most confident first.

    Positive predictions are sorted by descending score, negative predictions by ascending score.

    Args:
        predictions: predictions of one model on one split in stored order, with the columns of `prediction_frame`.
        positive: (n,) which images are predicted positive.
    """
    truth, scores = predictions[label_column(label)].to_numpy(), predictions[score_column(label)].to_numpy()
    outcomes = {
        "true positives": positive & (truth == 1),
        "false positives": positive & (truth == 0),
        "false negatives": ~positive & (truth == 1),
        "true negatives": ~positive & (truth == 0),
    }
    image_ids, calls = predictions["image_id"].tolist(), {}
    for outcome, mask in outcomes.items():
        (positions,) = mask.nonzero()
        order = np.argsort(scores[positions] * (-1 if "positives" in outcome else 1), kind="stable")
        calls[outcome] = [Call(int(row), image_ids[row], float(scores[row])) for row in positions[order]]
    return calls


def labels_to_show(predictions: pd.DataFrame, labels: Iterable[str]) -> list[str]:
    """Returns up to MAX_LABELS of the labels with known truth, those with the most positive images first."""
    truth = {label: predictions[label_column(label)] for label in labels}
    positives = {label: column.sum() for label, column in truth.items() if column.notna().any()}
    return sorted(positives, key=lambda label: -positives[label])[:MAX_LABELS]


def draw_gallery(
    data: Shards,
    split: str,
    predictions: pd.DataFrame,
    decisions: Mapping[str, NDArray[np.bool_]],
    heat_maps: HeatMaps,
) -> list[LabelFigures]:
    """Draws the figures of the labels to show, as `draw_calls`.

    Args:
        predictions: predictions of the published model on the split in stored order.
        decisions: which images are predicted positive, by label, from `decide_labels`.
    """
    selected = {
        label: {
            outcome: calls[:WORST_ERRORS]
            for outcome, calls in classify_predictions(predictions, label, decisions[label]).items()
        }
        for label in labels_to_show(predictions, decisions)
    }
    return draw_calls(data, split, selected, heat_maps, ("false positives", "false negatives"))


def draw_calls(
    data: Shards,
    split: str,
    selected: Mapping[str, Mapping[str, Sequence[Call]]],
    heat_maps: HeatMaps,
    errors: Sequence[str] = (),
) -> list[LabelFigures]:
    """Draws predictions with heat maps. Reads the split once and keeps only the selected images in memory.

    Args:
        selected: label -> outcome -> predictions, of which the first EXAMPLES get heat maps.
        errors: outcomes that are also drawn without heat maps.
    """
    positions = sorted(
        {call.position for outcomes in selected.values() for calls in outcomes.values() for call in calls}
    )
    images = dict(zip(positions, data.chosen(split, positions).as_numpy_iterator(), strict=True))
    return [
        LabelFigures(
            label,
            {name: draw_images(outcomes[name], images, label) for name in errors},
            _draw_heat_maps(
                {name: calls[:EXAMPLES] for name, calls in outcomes.items()}, images, data, label, heat_maps
            ),
        )
        for label, outcomes in selected.items()
    ]


def draw_images(calls: Sequence[Call], images: Mapping[int, np.ndarray], label: str) -> list[Figure]:
    """Draws images without heat maps. `images` are by position in the split."""
    return [
        Figure(call, blend(images[call.position], None, side=SIDE), f"{call.image_id}, {label} {call.score:.3f}")
        for call in calls
    ]


def _draw_heat_maps(
    outcomes: Mapping[str, Sequence[Call]],
    images: Mapping[int, np.ndarray],
    data: Shards,
    label: str,
    heat_maps: HeatMaps,
) -> dict[str, list[Figure]]:
    """Draws strips of the image and its heat maps, with the annotated boxes of the label."""
    positions = [call.position for calls in outcomes.values() for call in calls]
    if not positions:
        return {outcome: [] for outcome in outcomes}
    stacked = np.stack([images[position] for position in positions])
    batches = tf.data.Dataset.from_tensor_slices(stacked).batch(BATCH_SIZE)
    shown = "Grad-CAM, LayerCAM and class map" if "class_map" in heat_maps.names else "Grad-CAM and LayerCAM"
    streamed = heat_maps.stream(batches, data.labels.index(label))
    heats = dict(zip(positions, (heats for maps in streamed for heats in maps.by_image()), strict=True))
    return {
        outcome: [
            Figure(
                call,
                _strip(images[call.position], heats[call.position], _boxes(data, call.image_id, label)),
                f"{call.image_id}, one of the {outcome} for {label}: image, {shown}",
            )
            for call in calls
        ]
        for outcome, calls in outcomes.items()
    }


def _boxes(data: Shards, image_id: str, label: str) -> list[Box]:
    matches = (data.boxes["image_id"] == image_id) & (data.boxes["finding"] == label)
    return list(data.boxes.loc[matches, CORNERS].to_numpy("float64").tolist())


def _strip(image: np.ndarray, heats: Sequence[np.ndarray], boxes: Sequence[Box]) -> np.ndarray:
    gap = np.full((SIDE, GAP, 3), 255, dtype="uint8")
    panels = [part for heat in heats for part in (gap, blend(image, heat, boxes, SIDE))]
    return np.concatenate([blend(image, None, boxes, SIDE), *panels], axis=1)
