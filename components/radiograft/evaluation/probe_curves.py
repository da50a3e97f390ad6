"""Reads the curves of linear probes that extract_features wrote, and adds intervals from resampled patients."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, prediction_frame
from radiograft.metrics.bootstrap import NOT_ESTIMABLE, bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.label_metrics import RankedLabel, mean_exact_estimate, rank_label
from radiograft.metrics.ranking import FloatArray, IntArray, area_under_roc, cumulative_counts, roc_vertices
from radiograft.metrics.regression import Reference, evaluate_targets
from radiograft.registry.result_types import Estimate
from radiograft.registry.training_types import CurveMetric, CurvePoint, ReducedCurvePoint, curve_metric
from radiograft.training.cut_off_curve import CURVE, SCORES
from radiograft.training.reduced_curve import REDUCED_CURVE, REDUCED_SCORES

ANY_THRESHOLD = 0.5  # an AUROC does not depend on it


def read_curve(
    features: Path,
    validation: pd.DataFrame,
    labels: Sequence[str],
    bootstrap_samples: int,
    seed: int,
    min_patients: int = 1,
) -> list[CurvePoint]:
    """Reads the curve that extract_features wrote and adds 95% intervals.

    Args:
        features: folder of the features artifact.
        validation: the validation rows in stored order, with `patient_id` and `label:<name>`.
        labels: labels in the order of the scores. Those that are not estimable on validation are skipped.
        bootstrap_samples: number of patient resamples.
        seed: seed of the resampling.
        min_patients: minimum number of patients with, and without, a label for it to be estimable.
    """
    points, scores = json.loads((features / CURVE).read_text()), np.load(features / SCORES, mmap_mode="r")
    metric = curve_metric(points)
    estimates = ESTIMATES[metric](scores, validation, labels, bootstrap_samples, seed, min_patients)
    curve = [CurvePoint(layer=each["layer"], channels=each["channels"], penalty=each["penalty"]) for each in points]
    for point, estimate in zip(curve, estimates, strict=True):
        point[metric] = estimate
    return curve


def read_reduced_curve(
    features: Path,
    validation: pd.DataFrame,
    labels: Sequence[str],
    bootstrap_samples: int,
    seed: int,
    min_patients: int = 1,
) -> list[ReducedCurvePoint]:
    """Reads the curve of reduced features and adds 95% intervals, as `read_curve`; empty if the run has none."""
    if not (features / REDUCED_CURVE).exists():
        return []
    points = json.loads((features / REDUCED_CURVE).read_text())
    scores = np.load(features / REDUCED_SCORES, mmap_mode="r")
    metric = curve_metric(points)
    estimates = ESTIMATES[metric](scores, validation, labels, bootstrap_samples, seed, min_patients)
    curve = [
        ReducedCurvePoint(
            layer=each["layer"], method=each["method"], components=each["components"], penalty=each["penalty"]
        )
        for each in points
    ]
    for point, estimate in zip(curve, estimates, strict=True):
        point[metric] = estimate
    return curve


def _probe_aurocs(
    scores: np.ndarray,
    validation: pd.DataFrame,
    labels: Sequence[str],
    bootstrap_samples: int,
    seed: int,
    min_patients: int,
) -> list[Estimate]:
    """Returns the mean AUROC over the estimable labels for each probe, from scores [probes, images, labels]."""
    patients = encode_patients(validation["patient_id"])
    truth = [validation[label_column(label)].to_numpy() for label in labels]
    by_probe = [
        [
            ranked
            for index, column in enumerate(truth)
            if (ranked := rank_label(column, probe[:, index], patients, ANY_THRESHOLD, min_patients)).estimable
        ]
        for probe in scores
    ]
    return [_mean_auroc_estimate(ranked, patients, bootstrap_samples, seed) for ranked in by_probe]


def _mean_auroc_estimate(labels: Sequence[RankedLabel], patients: IntArray, samples: int, seed: int) -> Estimate:
    if not labels:
        return NOT_ESTIMABLE

    def areas(weights: FloatArray) -> FloatArray:
        rankings = [label.ranking for label in labels]
        columns = [area_under_roc(*cumulative_counts(each, roc_vertices(each), weights)) for each in rankings]
        return np.array(columns)

    values = bootstrap_by_patient(patients, lambda weights: np.mean(areas(weights), axis=0), samples, seed)
    original = areas(np.ones((1, len(patients))))[:, 0]
    return percentile_interval(values, lambda _: mean_exact_estimate(labels, "auroc", original))


def _probe_r2s(
    scores: np.ndarray,
    validation: pd.DataFrame,
    targets: Sequence[str],
    bootstrap_samples: int,
    seed: int,
    min_patients: int,
) -> list[Estimate]:
    """Returns the mean R² over the estimable targets for each probe, from predictions [probes, images, targets]."""
    nothing = dict.fromkeys(targets, Reference(0.0, 0.0))
    frames = (prediction_frame(validation, targets, probe) for probe in scores)
    split_metrics = (evaluate_targets(frame, nothing, bootstrap_samples, seed, min_patients) for frame in frames)
    return [metrics["regression"]["r2"] for metrics in split_metrics]


ESTIMATES: dict[CurveMetric, Callable[..., list[Estimate]]] = {"auroc": _probe_aurocs, "r2": _probe_r2s}
