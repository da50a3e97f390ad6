"""Metrics of predicted numbers under any weighting of images, beside those of always predicting one number.

A bootstrap resample is a weight for each image, so that every metric follows from weighted sums over the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.bootstrap import NOT_ESTIMABLE, bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.ranking import FloatArray, IntArray, safe_ratio
from radiograft.registry.result_types import Estimate, MeanMetrics, RegressionMetrics, SplitMetrics, TargetMetrics

STATISTICS = (
    "mae", "rmse", "r2", "mean_error", "limit_low", "limit_high", "baseline_mae", "baseline_rmse", "mae_difference",
)  # fmt: skip
LIMITS = 1.96  # standard deviations of the errors (Bland and Altman 1986)
MIN_SHARE = 1e-12  # of the mean square of a target: a smaller variance is a rounding error


class Reference(NamedTuple):
    """Mean and median of a target in training, which predict without an image."""

    mean: float
    median: float


class Errors(NamedTuple):
    """Errors of the predictions of one target, prepared for `compute_target_statistics`; 0 where it is unknown.

    Attributes:
        known: (n,) whether the target is known, as 1.0 and 0.0.
        truth: (n,) the target minus the mean of its known values.
        errors: (n,) prediction minus truth.
        from_mean, from_median: (n,) the mean, and the median, of training minus truth.
        patients: (n,) patient codes.
    """

    known: FloatArray
    truth: FloatArray
    errors: FloatArray
    from_mean: FloatArray
    from_median: FloatArray
    patients: IntArray

    @property
    def n_patients(self) -> int:
        """Number of patients with a known value."""
        return len(np.unique(self.patients[self.known > 0]))

    @property
    def varies(self) -> bool:
        """Whether the known values differ, without which R² is undefined."""
        return len(np.unique(self.truth[self.known > 0])) > 1


def measure_errors(truth: ArrayLike, predicted: ArrayLike, patients: IntArray, reference: Reference) -> Errors:
    """Prepares the errors of one target.

    Args:
        truth: (n,) NaN where unknown.
        predicted: (n,) finite.
        patients: (n,) patient codes from `encode_patients`.
        reference: mean and median of training.

    Raises:
        ValueError: a prediction is not finite.
    """
    values, predictions = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if not np.isfinite(predictions).all():
        raise ValueError(f"predictions must be finite, got {int((~np.isfinite(predictions)).sum())} others")
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)

    def masked(column: FloatArray) -> FloatArray:
        return np.where(known, column, 0.0)

    return Errors(
        known.astype(np.float64),
        masked(filled - (filled[known].mean() if known.any() else 0.0)),
        masked(predictions - filled),
        masked(reference.mean - filled),
        masked(reference.median - filled),
        patients,
    )


def compute_target_statistics(errors: Errors, weights: FloatArray) -> FloatArray:
    """Computes STATISTICS under b weightings.

    Args:
        weights: (b, n) the number of times that each image counts.

    Returns:
        (b, 9); NaN if a weighting lacks the images that a statistic needs.
    """
    total = _sum(weights, errors.known)

    def mean(column: FloatArray) -> FloatArray:
        return safe_ratio(_sum(weights, column), total)

    square, bias, mae = mean(errors.errors**2), mean(errors.errors), mean(np.abs(errors.errors))
    baseline = mean(np.abs(errors.from_median))
    level = mean(errors.truth)
    variance = mean(errors.truth**2) - level**2
    variance = np.where(variance > MIN_SHARE * (mean(errors.truth**2) + 1e-300), variance, np.nan)
    # The limits use the standard deviation of the sample, with n - 1.
    spread = LIMITS * np.sqrt(np.maximum(square - bias**2, 0.0) * safe_ratio(total, np.maximum(total - 1, 0.0)))
    columns = [
        mae,
        np.sqrt(square),
        1 - square / variance,
        bias,
        bias - spread,
        bias + spread,
        baseline,
        np.sqrt(mean(errors.from_mean**2)),
        mae - baseline,
    ]
    return np.stack(columns, axis=1)


def _sum(weights: FloatArray, column: FloatArray) -> FloatArray:
    # Not `weights @ column`: BLAS would start threads on all cores beside those of the bootstrap.
    total: FloatArray = np.einsum("bn,n->b", weights, column)
    return total


def evaluate_targets(
    predictions: pd.DataFrame,
    references: dict[str, Reference],
    bootstrap_samples: int,
    seed: int,
    min_patients: int = 1,
) -> SplitMetrics:
    """Computes the metrics of all targets with 95% intervals from resampled patients.

    Args:
        predictions: rows of one split with the columns of `prediction_frame`.
        references: mean and median of training by target.
        bootstrap_samples: number of resamples; below 40, no intervals are computed.
        seed: seed of the resampling.
        min_patients: minimum number of patients with a known value for a target to be estimable.

    Example:
        >>> rows = pd.DataFrame({"patient_id": ["a", "b", "c"], "label:age": [1.0, 2, 3], "score:age": [1.0, 2, 2]})
        >>> metrics = evaluate_targets(rows, {"age": Reference(2.0, 2.0)}, 0, 0)["regression"]["targets"]["age"]
        >>> metrics["r2"]["value"], metrics["mean_error"]["value"] < 0
        (0.5, True)
    """
    patients = encode_patients(predictions["patient_id"])
    measured = [
        measure_errors(predictions[label_column(target)], predictions[score_column(target)], patients, reference)
        for target, reference in references.items()
    ]
    estimable = [errors.varies and errors.n_patients >= max(min_patients, 2) for errors in measured]
    values = bootstrap_by_patient(
        patients,
        lambda weights: np.stack([compute_target_statistics(errors, weights) for errors in measured], axis=1),
        bootstrap_samples,
        seed,
    )
    names = list(references)
    targets = {
        name: _summarize(errors, references[name], values[:, number], estimable[number])
        for number, (name, errors) in enumerate(zip(names, measured, strict=True))
    }
    return {
        "n_images": len(predictions),
        "n_patients": len(np.unique(patients)),
        "labels": {},
        "mean": no_means(),
        "regression": RegressionMetrics(
            targets=targets,
            estimable=[name for name, is_estimable in zip(names, estimable, strict=True) if is_estimable],
            r2=mean_estimate(values[:, estimable, STATISTICS.index("r2")]),
        ),
    }


def mean_estimate(values: FloatArray) -> Estimate:
    """Returns the mean over targets with its interval; not estimable without targets.

    Args:
        values: (1 + samples, targets) from `bootstrap_by_patient`.
    """
    return interval(values.mean(axis=1)) if values.shape[1] else NOT_ESTIMABLE


def interval(values: FloatArray) -> Estimate:
    """Returns the value with its percentile interval; without an interval if no resample changes the value.

    Args:
        values: (1 + samples,) from `bootstrap_by_patient`.
    """
    return percentile_interval(values, _without_interval)


def _without_interval(value: float) -> Estimate:
    return {"value": value, "low": None, "high": None}


def _summarize(errors: Errors, reference: Reference, values: FloatArray, estimable: bool) -> TargetMetrics:
    estimates = {
        name: interval(values[:, column]) if estimable else NOT_ESTIMABLE for column, name in enumerate(STATISTICS)
    }
    return TargetMetrics(
        n_images=int(errors.known.sum()),
        n_patients=errors.n_patients,
        estimable=estimable,
        mean=reference.mean,
        median=reference.median,
        mae=estimates["mae"],
        rmse=estimates["rmse"],
        r2=estimates["r2"],
        mean_error=estimates["mean_error"],
        limit_low=estimates["limit_low"],
        limit_high=estimates["limit_high"],
        baseline_mae=estimates["baseline_mae"],
        baseline_rmse=estimates["baseline_rmse"],
        mae_difference=estimates["mae_difference"],
    )


def no_means() -> MeanMetrics:
    """Returns the means over labels of a split that has targets in their place."""
    return MeanMetrics(
        auroc=NOT_ESTIMABLE, average_precision=NOT_ESTIMABLE, accuracy=NOT_ESTIMABLE, majority_accuracy=None,
        sensitivity=NOT_ESTIMABLE, specificity=NOT_ESTIMABLE, ppv=NOT_ESTIMABLE, npv=NOT_ESTIMABLE, f1=NOT_ESTIMABLE,
        brier=NOT_ESTIMABLE, labels=[],
    )  # fmt: skip


def paired_mae(models: Sequence[pd.DataFrame], target: str, samples: int, seed: int) -> FloatArray:
    """Computes the mean absolute errors of several models on the same resamples of patients.

    Args:
        models: predictions of each model on the same images in the same order.
        target: name of the target.
        samples: number of resamples.
        seed: seed of the resampling.

    Returns:
        (1 + samples, models).

    Raises:
        ValueError: the models predicted different images.
    """
    image_ids = [model["image_id"].tolist() for model in models]
    if any(ids != image_ids[0] for ids in image_ids):
        raise ValueError("models must be compared on the same images in the same order")
    truth = models[0][label_column(target)].to_numpy("float64")
    known = (~np.isnan(truth)).astype(np.float64)
    sizes = [np.nan_to_num(np.abs(model[score_column(target)].to_numpy("float64") - truth)) for model in models]

    def statistic(weights: FloatArray) -> FloatArray:
        total = _sum(weights, known)
        return np.stack([safe_ratio(_sum(weights, size), total) for size in sizes], axis=1)

    return bootstrap_by_patient(encode_patients(models[0]["patient_id"]), statistic, samples, seed)
