"""The most frequent errors between exclusive classes: pairs of true and predicted class, with their images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from radiograft.data.shards.dataset import Shards
from radiograft.explain.gallery import WORST_ERRORS, Call, Figure, draw_images
from radiograft.metrics.class_decisions import UNKNOWN_CLASS, predict_classes, read_classes

MAX_PAIRS = 4  # with images; keeps the page small
MAX_LISTED = 5  # the confusion matrix has all


class ErrorPair(NamedTuple):
    """Images of one class that are predicted as another.

    Attributes:
        truth: the true class.
        predicted: the predicted class.
        calls: the images, those with the highest score of the predicted class first.
        n_patients: their number of patients.
        n_images: number of all images of the true class.
    """

    truth: str
    predicted: str
    calls: Sequence[Call]
    n_patients: int
    n_images: int


class PairFigures(NamedTuple):
    """Figures of the most confident errors of a pair of classes."""

    pair: ErrorPair
    figures: Sequence[Figure]

    def images(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yields group name and pixels, uint8 [height, width, 3], of every figure; names contain no image ids."""
        for figure in self.figures:
            yield f"worst calls/{self.pair.truth}/predicted as {self.pair.predicted}", figure.pixels


def find_errors(predictions: pd.DataFrame, labels: Sequence[str]) -> list[ErrorPair]:
    """Returns the pairs of true and predicted class that differ, those with the most images first.

    Args:
        predictions: predictions of one model on one split in stored order, with the columns of `prediction_frame`.
        labels: the classes.
    """
    truth, scores = read_classes(predictions, labels)
    predicted, is_known = predict_classes(scores), truth != UNKNOWN_CLASS
    cells = np.where(is_known & (truth != predicted), truth * len(labels) + predicted, UNKNOWN_CLASS)
    image_ids, patients = predictions["image_id"].to_numpy(), predictions["patient_id"].to_numpy()
    pairs = []
    for cell in np.unique(cells[cells != UNKNOWN_CLASS]).tolist():
        one, other = divmod(cell, len(labels))
        (chosen,) = np.nonzero(cells == cell)
        ordered = chosen[np.argsort(-scores[chosen, other], kind="stable")]
        calls = [Call(int(row), str(image_ids[row]), float(scores[row, other])) for row in ordered]
        n_patients, n_images = len(np.unique(patients[chosen])), int(np.count_nonzero(truth == one))
        pairs.append(ErrorPair(labels[one], labels[other], calls, n_patients, n_images))
    return sorted(pairs, key=lambda pair: -len(pair.calls))


def draw_errors(data: Shards, split: str, pairs: Sequence[ErrorPair]) -> list[PairFigures]:
    """Draws the most confident errors of the first pairs."""
    shown = [(pair, pair.calls[:WORST_ERRORS]) for pair in pairs[:MAX_PAIRS]]
    positions = sorted({call.position for _, calls in shown for call in calls})
    images = dict(zip(positions, data.chosen(split, positions).as_numpy_iterator(), strict=True)) if positions else {}
    return [PairFigures(pair, draw_images(calls, images, pair.predicted)) for pair, calls in shown]
