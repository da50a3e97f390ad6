"""Calibration: expected calibration error and reliability curve, before and after temperature scaling.

Scores are calibrated if 30% of the images that score 0.3 have the label. Temperature scaling (Guo et al. 2017) divides
the logit of a label by a temperature fitted on validation. It does not change the ranking of images, and so neither the
AUROC nor the predictions at a threshold that is scaled as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.analysis_types import (
    Bin,
    Calibration,
    ClassCalibration,
    LabelCalibration,
    Reliability,
)
from radiograft.reporting.html import ReportSection
from radiograft.reporting.plots import reliability_svg

BINS = 10
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
# Beyond logits of about 16, the float32 sigmoid is exactly 0 or 1, whose logit is infinite.
MIN_SCORE = 1e-7


def calibrate(validation: pd.DataFrame, test: pd.DataFrame, labels: Sequence[str]) -> Calibration:
    """Fits temperatures on validation and measures the calibration on test, for one strategy.

    Args:
        validation: predictions with the columns of `prediction_frame`.
        test: predictions with the same columns.
        labels: the labels that are estimable on test. They also have both classes in validation.
    """
    return summarize({label: _calibrate_label(*_known(validation, label), *_known(test, label)) for label in labels})


def summarize(by_label: Mapping[str, LabelCalibration]) -> Calibration:
    """Returns the calibration of all labels with the means of their expected errors."""
    before = [result["before"]["expected_error"] for result in by_label.values()]
    after = [result["after"]["expected_error"] for result in by_label.values()]
    return {
        "labels": dict(by_label),
        "expected_error": float(np.mean(before)) if before else None,
        "scaled_expected_error": float(np.mean(after)) if after else None,
    }


def fit_temperature(truth: ArrayLike, scores: ArrayLike) -> float:
    """Fits the temperature that minimizes the cross-entropy. Use validation data only.

    Args:
        truth: (n,) 0 or 1, with both classes.
        scores: (n,) 0 to 1.

    Returns:
        0.05 to 20. Above 1 the scores are overconfident, below 1 underconfident.
    """
    signs = 2 * np.asarray(truth, np.float64) - 1
    wrong_logits = -signs * _logits(scores)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, wrong_logits / np.exp(log_temperature)).mean())

    bounds = np.log([MIN_TEMPERATURE, MAX_TEMPERATURE])
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def apply_temperature(scores: ArrayLike, temperature: float) -> FloatArray:
    """Divides the logits of the scores by the temperature.

    Args:
        scores: (n,) 0 to 1.
        temperature: above 0.

    Returns:
        (n,) scaled scores, 0 to 1.

    Example:
        >>> apply_temperature([0.5, 0.8], 2.0).round(3).tolist()
        [0.5, 0.667]
    """
    scaled: FloatArray = expit(_logits(scores) / temperature)
    return scaled


def reliability(truth: ArrayLike, scores: ArrayLike) -> Reliability:
    """Computes the reliability curve, the expected calibration error and the Brier score.

    The ten bins hold about equal numbers of images, as in scikit-learn's `calibration_curve` with
    `strategy="quantile"`. With bins of equal width, nearly all images of a rare label would be in the first bin.

    Args:
        truth: (n,) 0 or 1.
        scores: (n,) 0 to 1.
    """
    truth, scores = np.asarray(truth, np.float64), np.asarray(scores, np.float64)
    edges = np.percentile(scores, np.linspace(0, 100, BINS + 1)[1:-1])
    bins = np.searchsorted(edges, scores)
    counts = np.bincount(bins, minlength=BINS)
    score_sums = np.bincount(bins, scores, BINS)
    positives = np.bincount(bins, truth, BINS)
    return {
        "expected_error": float(np.abs(score_sums - positives).sum() / len(truth)),
        "brier": float(np.mean((scores - truth) ** 2)),
        "curve": [
            Bin(n_images=int(count), predicted=float(score_sum / count), observed=float(positive / count))
            for count, score_sum, positive in zip(counts, score_sums, positives, strict=True)
            if count
        ],
    }


def compare(temperature: float, before: pd.DataFrame, after: pd.DataFrame, label: str) -> LabelCalibration:
    """Compares the calibration of a label before and after scaling by a temperature.

    Args:
        before, after: predictions on the same images, with the columns of `prediction_frame`.
    """
    truth, scores = _known(before, label)
    return {
        "temperature": temperature,
        "uninformed_brier": float(truth.var()),
        "before": reliability(truth, scores),
        "after": reliability(*_known(after, label)),
    }


def calibration_section(calibration: Calibration) -> ReportSection:
    """Returns the report section on calibration."""
    plots = {label: reliability_svg(*_curves(result)) for label, result in calibration["labels"].items()}
    classes = calibration.get("classes")
    plot = reliability_svg(*_curves(classes)) if classes else ""
    template = "class_calibration.html.j2" if classes else "calibration.html.j2"
    return ReportSection(template, {**calibration, "plots": plots, "plot": plot})


def _calibrate_label(
    validation_truth: FloatArray, validation_scores: FloatArray, truth: FloatArray, scores: FloatArray
) -> LabelCalibration:
    temperature = fit_temperature(validation_truth, validation_scores)
    return {
        "temperature": temperature,
        "uninformed_brier": float(truth.var()),
        "before": reliability(truth, scores),
        "after": reliability(truth, apply_temperature(scores, temperature)),
    }


def _known(predictions: pd.DataFrame, label: str) -> tuple[FloatArray, FloatArray]:
    """Returns truth and scores of the images with known truth."""
    known = predictions[predictions[label_column(label)].notna()]
    return known[label_column(label)].to_numpy("float64"), known[score_column(label)].to_numpy("float64")


def _curves(result: LabelCalibration | ClassCalibration) -> list[tuple[list[float], list[float]]]:
    return [
        ([point["predicted"] for point in curve], [point["observed"] for point in curve])
        for curve in (result["before"]["curve"], result["after"]["curve"])
    ]


def _logits(scores: ArrayLike) -> FloatArray:
    logits: FloatArray = logit(np.clip(np.asarray(scores, np.float64), MIN_SCORE, 1 - MIN_SCORE))
    return logits
