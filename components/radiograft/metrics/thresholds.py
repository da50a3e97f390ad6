"""Decision thresholds, chosen on validation for an operating point."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.config.evaluation import OperatingPoint
from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.ranking import FloatArray, Ranking, rank_scores, require_both_classes

YOUDEN = OperatingPoint()


def choose_threshold(truth: ArrayLike, scores: ArrayLike, point: OperatingPoint = YOUDEN) -> float:
    """Chooses the threshold of one label for an operating point. Use validation data only.

    Youden's index (1950) selects the highest sensitivity + specificity - 1 and, among equals, the lowest threshold,
    which is the most sensitive. A required sensitivity selects the highest threshold that reaches it. The threshold
    lies midway between two neighboring scores, so rounding errors in the scores do not affect predictions.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Returns:
        0 to 1; images with `score >= threshold` are predicted positive.

    Raises:
        ValueError: if a class is missing.

    Example:
        >>> round(choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]), 3)
        0.4
    """
    ranking = rank_scores(truth, scores)
    require_both_classes(ranking)
    true_positives = np.cumsum(ranking.truth)[ranking.ends]
    if point.sensitivity:
        index = _sensitivity_index(ranking, true_positives, point)
    else:
        index = _youden_index(ranking, true_positives)
    levels = np.append(ranking.scores[ranking.ends], 0.0)
    upper, lower = levels[index], levels[index + 1]
    # The midpoint of two adjacent floats may round down to the lower one, which must be predicted negative.
    return float(min(upper, max((upper + lower) / 2, np.nextafter(lower, 1.0))))


def choose_thresholds(
    validation: pd.DataFrame, labels: Sequence[str], point: OperatingPoint = YOUDEN
) -> dict[str, float]:
    """Chooses the threshold of every label that has both classes in validation; other labels are omitted.

    Args:
        validation: predictions with the columns of `prediction_frame`.
    """
    columns = {name: (validation[label_column(name)], validation[score_column(name)]) for name in labels}
    return {
        name: choose_threshold(truth, scores, point)
        for name, (truth, scores) in columns.items()
        if truth.dropna().nunique() == 2
    }


def _youden_index(ranking: Ranking, true_positives: FloatArray) -> int:
    false_positives = ranking.ends + 1 - true_positives
    # Integer arithmetic, so that ties compare as equal.
    gain = true_positives * ranking.negatives - false_positives * ranking.positives
    return len(gain) - 1 - int(np.argmax(gain[::-1]))


def _sensitivity_index(ranking: Ranking, true_positives: FloatArray, point: OperatingPoint) -> int:
    required = math.ceil(point.sensitivity * ranking.positives - 1e-9)  # 0.07 * 100 is slightly more than 7
    return int(np.searchsorted(true_positives, required))
