"""Whether a score of 0.3 means 30 %: expected calibration error and reliability curve, before and after scaling.

Temperature scaling (Guo and others 2017) divides a label's logit by one number, chosen on validation. It changes no
ranking, so no AUROC and no call at a threshold that is scaled with it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.result_types import Bin, Calibration, LabelCalibration, Reliability
from radiograft.reporting.html import ReportSection
from radiograft.reporting.plots import reliability_svg

BINS = 10
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 20.0
# Float32 rounds a sigmoid beyond logits of about 16 to 0 or 1, whose logit would be infinite.
MIN_SCORE = 1e-7


def calibrate(validation: pd.DataFrame, test: pd.DataFrame, labels: Sequence[str]) -> Calibration:
    """Calibration of one strategy's scores on test.

    Args:
        validation, test: columns as `records.prediction_frame` makes them.
        labels: those that are estimable on test, and so have both classes in validation too.
    """
    found = {name: _calibrate_label(*_columns(validation, name), *_columns(test, name)) for name in labels}
    errors = {when: [label[when]["expected_error"] for label in found.values()] for when in ("before", "after")}
    return {
        "labels": found,
        "expected_error": float(np.mean(errors["before"])) if found else None,
        "scaled_expected_error": float(np.mean(errors["after"])) if found else None,
    }


def fit_temperature(truth: ArrayLike, scores: ArrayLike) -> float:
    """The temperature under which the truth is likeliest; call it on validation only.

    Args:
        truth: (n,) 0 or 1, both of them.
        scores: (n,) 0 to 1.

    Returns:
        0.05 to 20; above 1 the scores are too sure of themselves, below 1 not sure enough.
    """
    signs = 2 * np.asarray(truth, np.float64) - 1
    evidence = -signs * _logits(scores)

    def loss(log_temperature: float) -> float:
        return float(np.logaddexp(0, evidence / np.exp(log_temperature)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=np.log([MIN_TEMPERATURE, MAX_TEMPERATURE]), method="bounded").x))


def apply_temperature(scores: ArrayLike, temperature: float) -> FloatArray:
    """Scores, 0 to 1, with their logits divided by the temperature."""
    scaled: FloatArray = expit(_logits(scores) / temperature)
    return scaled


def reliability(truth: ArrayLike, scores: ArrayLike) -> Reliability:
    """Reliability in ten bins of about equally many images, as scikit-learn's `calibration_curve` with quantiles.

    Bins of equal width would hold nearly all images of a rare label in the first one.

    Args:
        truth: (n,) 0 or 1.
        scores: (n,) 0 to 1.
    """
    known, predicted = np.asarray(truth, np.float64), np.asarray(scores, np.float64)
    bounds = np.percentile(predicted, np.linspace(0, 100, BINS + 1)[1:-1])
    bins = np.searchsorted(bounds, predicted)
    counts, scored, positive = (np.bincount(bins, each, BINS) for each in (np.ones_like(known), predicted, known))
    return {
        "expected_error": float(np.abs(scored - positive).sum() / len(known)),
        "brier": float(np.mean((predicted - known) ** 2)),
        "curve": [
            Bin(n_images=int(n), predicted=float(total / n), observed=float(hits / n))
            for n, total, hits in zip(counts, scored, positive, strict=True)
            if n
        ],
    }


def calibration_section(found: Calibration) -> ReportSection:
    """The report's part on calibration."""
    plots = {name: reliability_svg(*_curves(label)) for name, label in found["labels"].items()}
    return ReportSection("calibration.html.j2", {**found, "plots": plots})


def _calibrate_label(
    fitted_truth: FloatArray, fitted_scores: FloatArray, truth: FloatArray, scores: FloatArray
) -> LabelCalibration:
    temperature = fit_temperature(fitted_truth, fitted_scores)
    return {
        "temperature": temperature,
        "uninformed_brier": float(truth.var()),
        "before": reliability(truth, scores),
        "after": reliability(truth, apply_temperature(scores, temperature)),
    }


def _columns(predictions: pd.DataFrame, label: str) -> tuple[FloatArray, FloatArray]:
    known = predictions[predictions[label_column(label)].notna()]
    return known[label_column(label)].to_numpy("float64"), known[score_column(label)].to_numpy("float64")


def _curves(label: LabelCalibration) -> list[tuple[list[float], list[float]]]:
    return [
        ([point["predicted"] for point in each["curve"]], [point["observed"] for point in each["curve"]])
        for each in (label["before"], label["after"])
    ]


def _logits(scores: ArrayLike) -> FloatArray:
    logits: FloatArray = logit(np.clip(np.asarray(scores, np.float64), MIN_SCORE, 1 - MIN_SCORE))
    return logits
