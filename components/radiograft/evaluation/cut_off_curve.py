"""The cut-off curve with confidence intervals: the linear probe of each layer on the same resampled patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.data.catalog import has_both_classes, label_column
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.ranking import (
    FloatArray,
    Ranking,
    area_under_roc,
    cumulative_counts,
    rank_scores,
    roc_vertices,
)
from radiograft.registry.result_types import CurvePoint
from radiograft.training.cut_off_curve import CURVE, SCORES


def read_curve(
    features: Path, validation: pd.DataFrame, labels: Sequence[str], bootstrap_samples: int, seed: int
) -> list[CurvePoint]:
    """Reads the curve that extract_features wrote and adds 95% intervals.

    Args:
        features: folder of the features artifact.
        validation: the validation rows in stored order, with `patient_id` and `label:<name>`.
        labels: labels in the order of the scores. Those without both classes are skipped.
        bootstrap_samples: number of patient resamples.
        seed: seed of the resampling.
    """
    points = json.loads((features / CURVE).read_text())
    scores = np.load(features / SCORES, mmap_mode="r")
    truth = [validation[label_column(label)].to_numpy() for label in labels]
    estimable = [index for index, column in enumerate(truth) if has_both_classes(column)]
    by_layer = [[rank_scores(truth[index], layer[:, index]) for index in estimable] for layer in scores]
    aurocs = bootstrap_by_patient(
        encode_patients(validation["patient_id"]),
        lambda weights: np.stack([_mean_auroc(rankings, weights) for rankings in by_layer], axis=1),
        bootstrap_samples,
        seed,
    )
    return [
        CurvePoint(
            layer=point["layer"],
            channels=point["channels"],
            penalty=point["penalty"],
            auroc=percentile_interval(aurocs[:, index]),
        )
        for index, point in enumerate(points)
    ]


def _mean_auroc(rankings: Sequence[Ranking], weights: FloatArray) -> FloatArray:
    """Returns the mean AUROC (samples,) over the labels, for image weights (samples, images)."""
    areas = [area_under_roc(*cumulative_counts(ranking, roc_vertices(ranking), weights)) for ranking in rankings]
    mean: FloatArray = np.mean(areas, axis=0)
    return mean
