"""Metrics of all labels of a split, with confidence intervals from resampled patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.bootstrap import NOT_ESTIMABLE, bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.label_metrics import (
    STATISTICS,
    RankedLabel,
    compute_statistics,
    mean_exact_estimate,
    rank_label,
    summarize_label,
)
from radiograft.metrics.multiclass import (
    ExclusiveClasses,
    compute_class_statistics,
    decide_classes,
    predict_classes,
    read_classes,
    summarize_classes,
)
from radiograft.metrics.ranking import (
    FloatArray,
    IntArray,
    area_under_roc,
    cumulative_counts,
    rank_scores,
    require_both_classes,
    roc_vertices,
)
from radiograft.registry.result_types import Estimate, LabelMetrics, MeanMetrics, SplitMetrics

ROC_POINTS = 200


def auroc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Computes the area under the ROC curve of one label, without an interval.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Raises:
        ValueError: if a class is missing.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
    """
    ranking = rank_scores(truth, scores)
    require_both_classes(ranking)
    return float(area_under_roc(*cumulative_counts(ranking, roc_vertices(ranking), np.ones((1, np.size(truth)))))[0])


def roc_curve(truth: ArrayLike, scores: ArrayLike) -> tuple[list[float], list[float], list[float]]:
    """Computes the ROC curve of one label, thinned to at most ROC_POINTS points; all values are finite.

    Points are kept at even steps down the ranking, so that thinning does not bias the curve.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Returns:
        False positive rates, true positive rates and thresholds, from (0, 0) to (1, 1). The first threshold is just
        above the highest score.

    Raises:
        ValueError: if a class is missing.
    """
    ranking = rank_scores(truth, scores)
    require_both_classes(ranking)
    weights = np.ones((1, np.size(truth)))
    true_positives, false_positives = (counts[0] for counts in cumulative_counts(ranking, ranking.ends, weights))
    tpr, fpr = true_positives / ranking.positives, false_positives / ranking.negatives
    thresholds = np.append(np.nextafter(ranking.scores[0], 2.0), ranking.scores[ranking.ends])
    steps = np.unique(np.linspace(0, len(tpr) - 1, ROC_POINTS).round().astype(np.int64))
    return fpr[steps].tolist(), tpr[steps].tolist(), thresholds[steps].tolist()


def evaluate_label(
    truth: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    threshold: float | None,
    bootstrap_samples: int,
    seed: int,
    min_patients: int = 1,
) -> LabelMetrics:
    """Computes the metrics of one label with 95% intervals from resampled patients.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.
        patients: (n,) patient ids.
        threshold: a score at or above it is predicted positive; None if validation lacks a class.
        bootstrap_samples: number of resamples; below 40, no intervals are computed.
        seed: seed of the resampling.
        min_patients: minimum number of patients with, and without, the label for it to be estimable.
    """
    codes = encode_patients(patients)
    label = rank_label(truth, scores, codes, threshold, min_patients)
    statistics = bootstrap_by_patient(codes, partial(compute_statistics, label), bootstrap_samples, seed)
    return summarize_label(label, statistics)


def evaluate_predictions(
    predictions: pd.DataFrame,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    bootstrap_samples: int,
    seed: int,
    min_patients: int = 1,
    classes: ExclusiveClasses | None = None,
) -> SplitMetrics:
    """Computes the metrics of every label of one split and their mean, with 95% intervals from resampled patients.

    All labels share the same resamples. A resample that lacks a class of a label is skipped for that label and for
    the mean. A label that is not estimable has neither AUROC nor average precision and is excluded from the mean.
    If the labels are exclusive classes, each is evaluated against the rest at the decision for the highest score.

    Args:
        predictions: one row per image: `image_id`, `patient_id`, and for each label `label:<name>` (0.0, 1.0 or NaN
            for unknown) and `score:<name>` (0 to 1).
        labels: label names.
        thresholds: label to threshold, chosen on validation; a label without one is not estimable. Not used for
            exclusive classes.
        bootstrap_samples: number of resamples; below 40, no intervals are computed.
        seed: seed of the resampling.
        min_patients: minimum number of patients with, and without, a label for it to be estimable.
        classes: describes the labels if they are exclusive classes, else None.

    Returns:
        Metrics that are valid JSON: numbers, strings and None, without NaN.

    Raises:
        ValueError: if a column is missing, an image has no patient, or truth or scores are out of range.
    """
    _check_columns(predictions, labels)
    patients = encode_patients(predictions["patient_id"])
    ranked = rank_labels(predictions, labels, patients, {} if classes else thresholds, min_patients, classes)
    decided = (
        decide_classes(*read_classes(predictions, labels), patients, labels, classes, min_patients) if classes else None
    )
    shape = (len(labels), len(STATISTICS))

    def statistic(weights: FloatArray) -> FloatArray:
        by_label = np.stack([compute_statistics(label, weights) for label in ranked], axis=1).reshape(len(weights), -1)
        return by_label if decided is None else np.hstack([by_label, compute_class_statistics(decided, weights)])

    values = bootstrap_by_patient(patients, statistic, bootstrap_samples, seed)
    statistics = values[:, : math.prod(shape)].reshape(-1, *shape)
    by_label = zip(labels, ranked, statistics.swapaxes(0, 1), strict=True)
    metrics = {name: summarize_label(label, column) for name, label, column in by_label}
    found = SplitMetrics(
        n_images=len(predictions),
        n_patients=len(np.unique(patients)),
        labels=metrics,
        mean=_mean(metrics, ranked, statistics),
    )
    if decided is not None:
        found["classes"] = summarize_classes(decided, values[:, math.prod(shape) :])
    return found


def rank_labels(
    predictions: pd.DataFrame,
    labels: Sequence[str],
    patients: IntArray,
    thresholds: Mapping[str, float],
    min_patients: int,
    classes: ExclusiveClasses | None,
    mask: NDArray[np.bool_] | None = None,
) -> list[RankedLabel]:
    """Ranks the images of every label; exclusive classes are decided by the highest score.

    Args:
        mask: (n,) the truth of the other images is taken as unknown; None for all images.
    """
    decisions: list[NDArray[np.bool_] | None] = [None] * len(labels)
    if classes is not None:
        predicted = predict_classes(predictions[[score_column(name) for name in labels]].to_numpy("float64"))
        decisions = [predicted == index for index in range(len(labels))]
    truth = {name: predictions[label_column(name)] for name in labels}
    return [
        rank_label(
            truth[name] if mask is None else truth[name].where(mask),
            predictions[score_column(name)],
            patients,
            thresholds.get(name),
            min_patients,
            decision,
        )
        for name, decision in zip(labels, decisions, strict=True)
    ]


def _check_columns(predictions: pd.DataFrame, labels: Sequence[str]) -> None:
    if not labels:
        raise ValueError("predictions need at least one label, got none")
    columns = (column(name) for name in labels for column in (label_column, score_column))
    required = ["image_id", "patient_id", *columns]
    missing = [column for column in required if column not in predictions.columns]
    if missing:
        raise ValueError(f"predictions lack the columns {missing}, got {list(predictions.columns)}")


def _mean(metrics: Mapping[str, LabelMetrics], ranked: Sequence[RankedLabel], statistics: FloatArray) -> MeanMetrics:
    estimable = [label["estimable"] for label in metrics.values()]
    with_accuracy = [label["accuracy"]["value"] is not None for label in metrics.values()]
    majorities = [
        label["majority_accuracy"]
        for label in compress(metrics.values(), with_accuracy)
        if label["majority_accuracy"] is not None
    ]

    def mean(name: str, included: list[bool]) -> Estimate:
        if not any(included):
            return NOT_ESTIMABLE
        values = statistics[:, included, STATISTICS.index(name)]
        labels = list(compress(ranked, included))
        return percentile_interval(values.mean(axis=1), lambda _: mean_exact_estimate(labels, name, values[0]))

    return MeanMetrics(
        auroc=mean("auroc", estimable),
        average_precision=mean("average_precision", estimable),
        accuracy=mean("accuracy", with_accuracy),
        majority_accuracy=float(np.mean(majorities)) if majorities else None,
        sensitivity=mean("sensitivity", estimable),
        specificity=mean("specificity", estimable),
        ppv=mean("ppv", estimable),
        npv=mean("npv", estimable),
        f1=mean("f1", estimable),
        brier=mean("brier", estimable),
        labels=list(compress(metrics, estimable)),
    )
