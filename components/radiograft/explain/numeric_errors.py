"""The images with the largest errors of predicted numbers, with heat maps of what raises the predicted value."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.data.shards.dataset import Shards
from radiograft.explain.class_activation import HeatMaps
from radiograft.explain.gallery import EXAMPLES, MAX_LABELS, Call, LabelFigures, draw_calls

OVER, UNDER = "overestimates", "underestimates"


def largest_errors(predictions: pd.DataFrame, target: str) -> dict[str, list[Call]]:
    """Returns the predictions that exceed the truth most, and those that fall short of it most.

    Args:
        predictions: predictions of one model on one split in stored order, with the columns of `prediction_frame`.
        target: name of the target.
    """
    scores = predictions[score_column(target)].to_numpy("float64")
    errors = scores - predictions[label_column(target)].to_numpy("float64")
    image_ids = predictions["image_id"].tolist()

    def calls(sizes: np.ndarray) -> list[Call]:
        (positions,) = np.nonzero(sizes > 0)  # of an unknown target NaN
        order = positions[np.argsort(-sizes[positions], kind="stable")][:EXAMPLES]
        return [Call(int(row), image_ids[row], float(scores[row])) for row in order]

    return {OVER: calls(errors), UNDER: calls(-errors)}


def draw_largest_errors(data: Shards, split: str, predictions: pd.DataFrame, heat_maps: HeatMaps) -> list[LabelFigures]:
    """Draws the largest errors of the first MAX_LABELS targets, with heat maps."""
    selected = {target: largest_errors(predictions, target) for target in data.labels[:MAX_LABELS]}
    return draw_calls(data, split, selected, heat_maps)


def known_truth(predictions: pd.DataFrame, targets: Sequence[str]) -> dict[str, dict[int, float]]:
    """Returns the known values of each target by position in the split."""
    columns = {target: predictions[label_column(target)].to_numpy("float64").tolist() for target in targets}
    return {
        target: {position: value for position, value in enumerate(values) if not math.isnan(value)}
        for target, values in columns.items()
    }
