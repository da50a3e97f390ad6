"""The numbers of the evaluation: how well scores separate a label, with intervals that respect patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import compress
from typing import TypedDict

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from components.evaluate.bootstrap import Estimate, bootstrap, estimate, number_patients
from components.evaluate.label import STATISTICS, LabelMetrics, RankedLabel, rank_label, summarise, weigh
from components.evaluate.ranking import FloatArray, IntArray, Ranking, area_under_roc, corners, cumulate, rank

ROC_POINTS = 200


class MeanMetrics(TypedDict):
    """Unweighted means: of AUROC and average precision over the estimable labels, which `labels` names; of the
    accuracies over all labels that have a threshold."""

    auroc: Estimate
    average_precision: Estimate
    accuracy: Estimate
    majority_accuracy: float | None
    labels: list[str]


class SplitMetrics(TypedDict):
    """All labels of one split."""

    n_images: int
    n_patients: int
    labels: dict[str, LabelMetrics]
    mean: MeanMetrics


def auroc(truth: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC curve of one label, as `evaluate_label` gives it, without the rest.

    Raises:
        ValueError: a class is missing.
    """
    ranking = rank(truth, scores)
    _refuse_one_class(ranking)
    return float(area_under_roc(*cumulate(ranking, corners(ranking), np.ones((1, np.size(truth)))))[0])


def youden_threshold(truth: ArrayLike, scores: ArrayLike) -> float:
    """The threshold with the highest sensitivity + specificity - 1 (Youden 1950); call it on validation only.

    It lies midway between two neighbouring scores, so that a score's last bit decides nothing. Among equals
    the lowest is taken, the most sensitive.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Returns:
        0 to 1; pictures with `score >= threshold` are called positive.

    Raises:
        ValueError: a class is missing.
    """
    ranking = rank(truth, scores)
    _refuse_one_class(ranking)
    true_positives = np.cumsum(ranking.truth)[ranking.ends]
    false_positives = ranking.ends + 1 - true_positives
    # Whole numbers, so that equal gains compare as equal.
    gain = true_positives * ranking.negatives - false_positives * ranking.positives
    best = len(gain) - 1 - int(np.argmax(gain[::-1]))
    levels = np.append(ranking.scores[ranking.ends], 0.0)
    upper, lower = levels[best], levels[best + 1]
    # Between two adjacent floats the midpoint may round down to the lower one, which must not be called.
    return float(min(upper, max((upper + lower) / 2, np.nextafter(lower, 1.0))))


def youden_thresholds(validation: pd.DataFrame, labels: Sequence[str]) -> dict[str, float]:
    """`youden_threshold` of every label that has both classes in validation; the others are left out.

    Args:
        validation: columns as in `evaluate_predictions`.
    """
    columns = {name: (validation[f"label:{name}"], validation[f"score:{name}"]) for name in labels}
    return {
        name: youden_threshold(truth, scores)
        for name, (truth, scores) in columns.items()
        if truth.dropna().nunique() == 2
    }


def roc_curve(truth: ArrayLike, scores: ArrayLike) -> tuple[list[float], list[float], list[float]]:
    """False positive rates, true positive rates and thresholds, about 200 points at most, all finite.

    Points are kept at even steps down the ranking, so that neither corner of the staircase is favoured.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.

    Returns:
        Three lists from (0, 0) to (1, 1); the first threshold lies just above the highest score.

    Raises:
        ValueError: a class is missing.
    """
    ranking = rank(truth, scores)
    _refuse_one_class(ranking)
    weights = np.ones((1, np.size(truth)))
    true_positives, false_positives = (counts[0] for counts in cumulate(ranking, ranking.ends, weights))
    tpr, fpr = true_positives / ranking.positives, false_positives / ranking.negatives
    thresholds = np.append(np.nextafter(ranking.scores[0], 2.0), ranking.scores[ranking.ends])
    steps = np.unique(np.linspace(0, len(tpr) - 1, ROC_POINTS).round().astype(np.int64))
    return fpr[steps].tolist(), tpr[steps].tolist(), thresholds[steps].tolist()


def _refuse_one_class(ranking: Ranking) -> None:
    if not ranking.has_both_classes:
        raise ValueError(
            f"a threshold or ROC curve needs pictures of both classes, got {ranking.positives} positive and "
            f"{ranking.negatives} negative; leave the label out or enlarge the split"
        )


def evaluate_label(
    truth: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    threshold: float | None,
    bootstrap_samples: int,
    seed: int,
) -> LabelMetrics:
    """`evaluate_predictions` for one label.

    Args:
        truth: (n,) 0, 1 or NaN for unknown.
        scores: (n,) 0 to 1.
        patients: (n,) patient ids.
        threshold: a score at or above it is a positive call; None where validation could not choose one.
        bootstrap_samples: resamples of patients; below 40 there are no intervals.
        seed: of the resampling.
    """
    numbered = number_patients(patients)
    label = rank_label(truth, scores, numbered, threshold)
    return summarise(label, bootstrap(numbered, partial(weigh, label), bootstrap_samples, seed))


def evaluate_predictions(
    predictions: pd.DataFrame,
    labels: Sequence[str],
    thresholds: Mapping[str, float],
    bootstrap_samples: int,
    seed: int,
) -> SplitMetrics:
    """Every label of one split and their mean, with 95 % intervals from resampled patients.

    All labels see the same resamples. One that lacks a class is skipped for that label and for the mean.

    Args:
        predictions: one row a picture: `image_id`, `patient_id`, and for each label `label:<name>` (0.0, 1.0
            or NaN for unknown) and `score:<name>` (0 to 1).
        labels: names of the labels.
        thresholds: chosen on validation; a label without one is not estimable.
        bootstrap_samples: resamples of patients; below 40 there are no intervals.
        seed: of the resampling.

    Returns:
        Python numbers, strings and None only: JSON without NaN.

    Raises:
        ValueError: a column is missing, a picture has no patient, or truth or scores are out of range.
    """
    _refuse_missing_columns(predictions, labels)
    patients = number_patients(predictions["patient_id"])
    ranked = _rank_all(predictions, labels, thresholds, patients)
    statistics = bootstrap(
        patients,
        lambda weights: np.stack([weigh(label, weights) for label in ranked], axis=1),
        bootstrap_samples,
        seed,
    )
    by_label = zip(labels, ranked, statistics.swapaxes(0, 1), strict=True)
    metrics = {name: summarise(label, values) for name, label, values in by_label}
    return {
        "n_images": len(predictions),
        "n_patients": len(np.unique(patients)),
        "labels": metrics,
        "mean": _mean(metrics, statistics),
    }


def _refuse_missing_columns(predictions: pd.DataFrame, labels: Sequence[str]) -> None:
    if not labels:
        raise ValueError("predictions need at least one label, got none")
    needed = ["image_id", "patient_id", *(f"{kind}:{name}" for name in labels for kind in ("label", "score"))]
    missing = [column for column in needed if column not in predictions.columns]
    if missing:
        raise ValueError(f"predictions lack the columns {missing}; they have {list(predictions.columns)}")


def _rank_all(
    predictions: pd.DataFrame, labels: Sequence[str], thresholds: Mapping[str, float], patients: IntArray
) -> list[RankedLabel]:
    return [
        rank_label(predictions[f"label:{name}"], predictions[f"score:{name}"], patients, thresholds.get(name))
        for name in labels
    ]


def _mean(metrics: Mapping[str, LabelMetrics], statistics: FloatArray) -> MeanMetrics:
    estimable = [label["estimable"] for label in metrics.values()]
    called = [label["accuracy"]["value"] is not None for label in metrics.values()]
    majorities = [m for label in compress(metrics.values(), called) if (m := label["majority_accuracy"]) is not None]

    def mean(name: str, labels: list[bool]) -> Estimate:
        chosen = statistics[:, labels, STATISTICS.index(name)]
        return estimate(chosen.mean(axis=1) if any(labels) else np.full(len(chosen), np.nan))

    return MeanMetrics(
        auroc=mean("auroc", estimable),
        average_precision=mean("average_precision", estimable),
        accuracy=mean("accuracy", called),
        majority_accuracy=float(np.mean(majorities)) if majorities else None,
        labels=list(compress(metrics, estimable)),
    )
