"""The cut-off curve with its uncertainty: each layer's probe on validation, all on the same resampled patients."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.data.catalog import has_both_classes, label_column
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.ranking import FloatArray, area_under_roc, cumulative_counts, rank_scores, roc_vertices
from radiograft.registry.result_types import CurvePoint
from radiograft.training.cut_off_curve import CURVE, SCORES


def read_curve(
    features: Path, validation: pd.DataFrame, labels: Sequence[str], bootstrap_samples: int, seed: int
) -> list[CurvePoint]:
    """Reads what extract_features wrote and adds intervals.

    Args:
        validation: the validation rows in stored order, with `patient_id` and `label:<name>`.
    """
    points = json.loads((features / CURVE).read_text())
    scores = np.load(features / SCORES, mmap_mode="r")
    truth = [validation[label_column(label)].to_numpy() for label in labels]
    able = [number for number, column in enumerate(truth) if has_both_classes(column)]
    ranked = [[rank_scores(truth[number], layer[:, number]) for number in able] for layer in scores]

    def mean_aurocs(weights: FloatArray) -> FloatArray:
        by_layer = [
            np.mean(
                [area_under_roc(*cumulative_counts(each, roc_vertices(each), weights)) for each in rankings], axis=0
            )
            for rankings in ranked
        ]
        return np.stack(by_layer, axis=1)

    found = bootstrap_by_patient(encode_patients(validation["patient_id"]), mean_aurocs, bootstrap_samples, seed)
    return [
        CurvePoint(
            layer=point["layer"],
            channels=point["channels"],
            penalty=point["penalty"],
            auroc=percentile_interval(found[:, number]),
        )
        for number, point in enumerate(points)
    ]
