"""Thresholds, each chosen on validation by the operating point's rule."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.config.gate import OperatingPoint
from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.ranking import FloatArray, Ranking, rank_scores, require_both_classes

YOUDEN = OperatingPoint()


def choose_threshold(truth: ArrayLike, scores: ArrayLike, point: OperatingPoint = YOUDEN) -> float:
    """The threshold that an operating point's rule chooses; call it on validation only.

    Youden's (1950) has the highest sensitivity + specificity - 1, and among equals is the lowest, the most sensitive.
    The one for a sensitivity is the highest that reaches it.
    It lies midway between two neighboring scores, so that a score's last bit decides nothing.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Returns:
        0 to 1; images with `score >= threshold` are called positive.

    Raises:
        ValueError: a class is missing.
    """
    ranking = rank_scores(truth, scores)
    require_both_classes(ranking)
    true_positives = np.cumsum(ranking.truth)[ranking.ends]
    chosen = _reaching(ranking, true_positives, point) if point.sensitivity else _youden(ranking, true_positives)
    levels = np.append(ranking.scores[ranking.ends], 0.0)
    upper, lower = levels[chosen], levels[chosen + 1]
    # Between two adjacent floats the midpoint may round down to the lower one, which must not be called.
    return float(min(upper, max((upper + lower) / 2, np.nextafter(lower, 1.0))))


def choose_thresholds(
    validation: pd.DataFrame, labels: Sequence[str], point: OperatingPoint = YOUDEN
) -> dict[str, float]:
    """`choose_threshold` of every label that has both classes in validation; the others are left out.

    Args:
        validation: columns as `records.prediction_frame` makes them.
    """
    columns = {name: (validation[label_column(name)], validation[score_column(name)]) for name in labels}
    return {
        name: choose_threshold(truth, scores, point)
        for name, (truth, scores) in columns.items()
        if truth.dropna().nunique() == 2
    }


def _youden(ranking: Ranking, true_positives: FloatArray) -> int:
    false_positives = ranking.ends + 1 - true_positives
    # Whole numbers, so that equal gains compare as equal.
    gain = true_positives * ranking.negatives - false_positives * ranking.positives
    return len(gain) - 1 - int(np.argmax(gain[::-1]))


def _reaching(ranking: Ranking, true_positives: FloatArray, point: OperatingPoint) -> int:
    needed = math.ceil(point.sensitivity * ranking.positives - 1e-9)  # 0.07 * 100 is a little more than 7
    return int(np.searchsorted(true_positives, needed))
