"""The new model against the production model on the same test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics import delong
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.ranking import FloatArray, area_under_roc, cumulative_counts, rank_scores, roc_vertices
from radiograft.registry.result_types import AurocComparison, Estimate


def resample(models: Sequence[pd.DataFrame], labels: Sequence[str], samples: int, seed: int) -> FloatArray:
    """AUROCs [1 + samples, labels, models]; every model and label sees the same resamples of patients.

    Args:
        models: each model's predictions on the same images in the same order, columns of `records.prediction_frame`.

    Raises:
        ValueError: the models were not asked about the same images.
    """
    asked = [model["image_id"].tolist() for model in models]
    if any(each != asked[0] for each in asked):
        raise ValueError("models must be compared on the same images in the same order")
    rankings = [
        rank_scores(model[label_column(name)], model[score_column(name)]) for name in labels for model in models
    ]
    bent = [(ranking, roc_vertices(ranking)) for ranking in rankings]

    def statistic(weights: FloatArray) -> FloatArray:
        areas = np.array([area_under_roc(*cumulative_counts(ranking, ends, weights)) for ranking, ends in bent])
        return areas.reshape(len(labels), len(models), len(weights)).transpose(2, 0, 1)

    return bootstrap_by_patient(encode_patients(models[0]["patient_id"]), statistic, samples, seed)


def compare_models(areas: FloatArray) -> AurocComparison:
    """From AUROCs [1 + samples, 1 or 2], the challenger's first, the champion's second where there is one."""
    if areas.shape[1] == 1:
        return {"challenger": percentile_interval(areas[:, 0]), "champion": None, "difference": None}
    return {
        "challenger": percentile_interval(areas[:, 0]),
        "champion": percentile_interval(areas[:, 1]),
        "difference": percentile_interval(areas[:, 0] - areas[:, 1]),
    }


def compare_by_delong(models: Sequence[pd.DataFrame], label: str) -> Estimate:
    """The difference of two models' AUROCs for one label with DeLong's normal interval, a patient's images together.

    It stands beside the bootstrap's as a check by other means. The bounds are None where the variance cannot be had.
    """
    challenger, champion = models
    truth, scores = challenger[label_column(label)], score_column(label)
    return delong.compare_aurocs(truth, challenger[scores], champion[scores], challenger["patient_id"]).estimate()
