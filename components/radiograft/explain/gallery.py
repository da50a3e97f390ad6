"""The images of the report: the worst calls, and where the network looked in right and wrong ones."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image

from radiograft.backbones import get_backbone
from radiograft.data.catalog import CORNERS, label_column, score_column
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import BATCH_SIZE, Box, HeatMaps, blend
from radiograft.explain.localization import Localization, localize
from radiograft.models.spec import ModelSpec
from radiograft.reporting.html import ReportSection

MAX_LABELS = 3  # so that the page stays light
WORST_ERRORS = 5
EXAMPLES = 4
SIDE = 192  # pixels of an image on the page
GAP = 4
QUALITY = 80  # of the JPEG


class Call(NamedTuple):
    """One image of a label, called at the threshold."""

    place: int
    image_id: str
    score: float


class Figure(NamedTuple):
    """A call as the page shows it; `pixels` are uint8 [height, width, 3]."""

    call: Call
    pixels: np.ndarray
    alt: str

    @property
    def jpeg(self) -> bytes:
        """The pixels as an encoded file."""
        content = io.BytesIO()
        Image.fromarray(self.pixels).save(content, "JPEG", quality=QUALITY, subsampling=0, optimize=True)
        return content.getvalue()


class LabelFigures(NamedTuple):
    """What is shown of one label: outcome (such as `false positives`) -> figures, the most decided score first."""

    label: str
    threshold: float
    worst: Mapping[str, Sequence[Figure]]
    looks: Mapping[str, Sequence[Figure]]

    def images(self) -> Iterator[tuple[str, np.ndarray]]:
        """Group and pixels, uint8 [height, width, 3], of every figure; a group's figures follow each other.

        Nothing names an image: its id may be a path that tells the patient.
        """
        for kind, outcomes in (("worst calls", self.worst), ("heat maps", self.looks)):
            for outcome, figures in outcomes.items():
                for figure in figures:
                    yield f"{kind}/{self.label}/{outcome}", figure.pixels


def classify_predictions(predictions: pd.DataFrame, label: str, threshold: float) -> dict[str, list[Call]]:
    """All calls of a label by outcome, the most decided score first: the highest of positives, the lowest of negatives.

    Args:
        predictions: of one model on one split in stored order, see `records.prediction_frame`.
    """
    truth, scores = predictions[label_column(label)].to_numpy(), predictions[score_column(label)].to_numpy()
    called = scores >= threshold
    outcomes = {
        "true positives": called & (truth == 1),
        "false positives": called & (truth == 0),
        "false negatives": ~called & (truth == 1),
        "true negatives": ~called & (truth == 0),
    }
    image_ids, found = predictions["image_id"].tolist(), {}
    for outcome, chosen in outcomes.items():
        (places,) = chosen.nonzero()
        decided = np.argsort(scores[places] * (-1 if "positives" in outcome else 1), kind="stable")
        found[outcome] = [Call(int(place), image_ids[place], float(scores[place])) for place in places[decided]]
    return found


def labels_to_show(predictions: pd.DataFrame, thresholds: Mapping[str, float]) -> list[str]:
    """Of the labels with a threshold and known truth the few with the most positive images, in this order."""
    truth = {label: predictions[label_column(label)] for label in thresholds}
    positives = {label: column.sum() for label, column in truth.items() if column.notna().any()}
    return sorted(positives, key=lambda label: -positives[label])[:MAX_LABELS]


def draw_gallery(
    data: Shards, split: str, predictions: pd.DataFrame, thresholds: Mapping[str, float], heat_maps: HeatMaps
) -> list[LabelFigures]:
    """Figures of the labels shown; the split is read once, and no other image of it is kept in memory.

    Args:
        predictions: of the published model on the split in stored order.
        thresholds: of the published model by label.
    """
    found = {
        label: {
            outcome: part[:WORST_ERRORS]
            for outcome, part in classify_predictions(predictions, label, thresholds[label]).items()
        }
        for label in labels_to_show(predictions, thresholds)
    }
    places = sorted({call.place for outcomes in found.values() for part in outcomes.values() for call in part})
    images = dict(zip(places, data.chosen(split, places).as_numpy_iterator(), strict=True))
    return [
        LabelFigures(
            label,
            thresholds[label],
            {name: _plain(outcomes[name], images, label) for name in ("false positives", "false negatives")},
            _draw_heat_maps({name: part[:EXAMPLES] for name, part in outcomes.items()}, images, data, label, heat_maps),
        )
        for label, outcomes in found.items()
    ]


def _plain(chosen: Sequence[Call], images: Mapping[int, np.ndarray], label: str) -> list[Figure]:
    return [
        Figure(call, blend(images[call.place], None, side=SIDE), f"{call.image_id}, {label} {call.score:.3f}")
        for call in chosen
    ]


def _draw_heat_maps(
    outcomes: Mapping[str, Sequence[Call]],
    images: Mapping[int, np.ndarray],
    data: Shards,
    label: str,
    heat_maps: HeatMaps,
) -> dict[str, list[Figure]]:
    """Strips of the image, Grad-CAM and LayerCAM, with the label's boxes around what was drawn as ill."""
    places = [call.place for part in outcomes.values() for call in part]
    batches = tf.data.Dataset.from_tensor_slices(np.stack([images[place] for place in places])).batch(BATCH_SIZE)
    streamed = heat_maps.stream(batches, data.labels.index(label))
    heats = dict(zip(places, (pair for maps in streamed for pair in zip(*maps, strict=True)), strict=True))
    return {
        outcome: [
            Figure(
                call,
                _strip(images[call.place], heats[call.place], _boxes(data, call.image_id, label)),
                f"{call.image_id}, one of the {outcome} of {label}: the image, its Grad-CAM and its LayerCAM",
            )
            for call in part
        ]
        for outcome, part in outcomes.items()
    }


def _boxes(data: Shards, image_id: str, label: str) -> list[Box]:
    chosen = (data.boxes["image_id"] == image_id) & (data.boxes["finding"] == label)
    return list(data.boxes.loc[chosen, CORNERS].to_numpy("float64").tolist())


def _strip(image: np.ndarray, heats: tuple[np.ndarray, ...], boxes: Sequence[Box]) -> np.ndarray:
    films = [blend(image, heat, boxes, SIDE) for heat in (None, *heats)]
    gap = np.full((SIDE, GAP, 3), 255, dtype="uint8")
    return np.concatenate([films[0], gap, films[1], gap, films[2]], axis=1)


class Explanations(NamedTuple):
    """`figures` show test images of a few of the `labels`; `localization` is None where no boxes are drawn."""

    labels: tuple[str, ...]
    figures: list[LabelFigures]
    localization: Localization | None

    def sections(self) -> list[ReportSection]:
        """Parts of the report: worst calls, heat maps with their scores."""
        return [ReportSection(f"{name}.html.j2", {**self._asdict()}) for name in ("where_it_fails", "where_it_looks")]

    def images(self) -> list[tuple[str, np.ndarray]]:
        """Name and pixels, uint8 [height, width, 3], of every figure."""
        return [image for figures in self.figures for image in figures.images()]


def explain_predictions(
    model: keras.Model,
    spec: ModelSpec,
    strategy: tf.distribute.Strategy,
    data: Shards,
    test: pd.DataFrame,
    thresholds: Mapping[str, float],
    samples: int,
    seed: int,
) -> Explanations:
    """Heat maps of the published model, of all images with boxes and of a few others.

    Args:
        model: built in the scope of the strategy.
        test: its predictions on test in stored order.
        thresholds: by label.
        samples: resamplings of patients behind each interval.
        seed: of the resampling and of the random control.
    """
    heat_maps = HeatMaps(model, strategy, spec.tensors, get_backbone(spec.backbone).taps)
    figures = draw_gallery(data, "test", test, thresholds, heat_maps)
    return Explanations(data.labels, figures, localize(data, heat_maps, samples, seed))
