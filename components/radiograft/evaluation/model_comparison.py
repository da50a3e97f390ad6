"""Compares the AUROCs of the new model (challenger) and the production model (champion) on the same test images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics import delong
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.ranking import FloatArray, area_under_roc, cumulative_counts, rank_scores, roc_vertices
from radiograft.registry.result_types import AurocComparison, Estimate


def bootstrap_aurocs(models: Sequence[pd.DataFrame], labels: Sequence[str], samples: int, seed: int) -> FloatArray:
    """Computes AUROCs on resampled patients. All models and labels share the same resamples.

    Args:
        models: predictions of each model on the same images in the same order, with the columns of
            `prediction_frame`.
        labels: labels to compare.
        samples: number of patient resamples.
        seed: seed of the resampling.

    Returns:
        (1 + samples, labels, models). The first row holds the AUROCs without resampling.

    Raises:
        ValueError: the models predicted different images.
    """
    image_ids = [model["image_id"].tolist() for model in models]
    if any(ids != image_ids[0] for ids in image_ids):
        raise ValueError("models must be compared on the same images in the same order")
    rankings = [
        rank_scores(model[label_column(name)], model[score_column(name)]) for name in labels for model in models
    ]
    vertices = [roc_vertices(ranking) for ranking in rankings]

    def statistic(weights: FloatArray) -> FloatArray:
        areas = np.array(
            [
                area_under_roc(*cumulative_counts(ranking, ends, weights))
                for ranking, ends in zip(rankings, vertices, strict=True)
            ]
        )
        return areas.reshape(len(labels), len(models), len(weights)).transpose(2, 0, 1)

    return bootstrap_by_patient(encode_patients(models[0]["patient_id"]), statistic, samples, seed)


def compare_models(aurocs: FloatArray) -> AurocComparison:
    """Computes intervals of the AUROCs and of their difference.

    Args:
        aurocs: (1 + samples, models) of one label or of a mean: the challenger and, if there is one, the champion.
    """
    if aurocs.shape[1] == 1:
        return {"challenger": percentile_interval(aurocs[:, 0]), "champion": None, "difference": None}
    return {
        "challenger": percentile_interval(aurocs[:, 0]),
        "champion": percentile_interval(aurocs[:, 1]),
        "difference": percentile_interval(aurocs[:, 0] - aurocs[:, 1]),
    }


def compare_by_delong(models: Sequence[pd.DataFrame], label: str) -> Estimate:
    """Computes the difference of the AUROCs of two models for one label with DeLong's normal interval.

    The images of a patient form a cluster. The interval is an independent check of the bootstrap interval. Its bounds
    are None if the variance cannot be estimated.
    """
    challenger, champion = models
    truth, scores = challenger[label_column(label)], score_column(label)
    return delong.compare_aurocs(truth, challenger[scores], champion[scores], challenger["patient_id"]).estimate()
