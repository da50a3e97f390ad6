"""Calibration of exclusive classes: of the highest score, and of all scores of an image together.

One temperature divides the logits of all classes (Guo et al. 2017), so that the scores still add up to 1 and the class
with the highest score stays the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from radiograft.data.catalog import score_column
from radiograft.evaluation import calibration
from radiograft.metrics.class_decisions import MIN_SCORE, UNKNOWN_CLASS, predict_classes, read_classes, score_losses
from radiograft.metrics.ranking import FloatArray, IntArray
from radiograft.registry.analysis_types import Calibration, ClassCalibration, ClassReliability


def calibrate_classes(
    validation: pd.DataFrame, test: pd.DataFrame, labels: Sequence[str], estimable: Sequence[str]
) -> Calibration:
    """Fits one temperature on validation and measures the calibration on test, for one strategy.

    Args:
        validation: predictions with the columns of `prediction_frame`.
        test: predictions with the same columns.
        labels: the classes.
        estimable: the classes that are estimable on test; each is also measured against the rest.
    """
    truth, scores = _known(validation, labels)
    if not len(truth):
        return calibration.summarize({})
    temperature = fit_class_temperature(truth, scores)
    scaled = test.copy()
    distribution = test[[score_column(label) for label in labels]].to_numpy("float64")
    scaled[[score_column(label) for label in labels]] = apply_class_temperature(distribution, temperature)
    found = calibration.summarize({label: calibration.compare(temperature, test, scaled, label) for label in estimable})
    if (_known(test, labels)[0]).size:
        found["classes"] = _compare_distributions(temperature, test, scaled, labels)
    return found


def fit_class_temperature(truth: ArrayLike, scores: ArrayLike) -> float:
    """Fits the temperature that minimizes the log loss. Use validation data only.

    Args:
        truth: (n,) class indices.
        scores: (n, classes) 0 to 1, of which each row adds up to 1.

    Returns:
        0.05 to 20. Above 1 the scores are overconfident, below 1 underconfident.
    """
    indices, logits = np.asarray(truth, np.int64), _logits(scores)
    rows = np.arange(len(indices))

    def loss(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, indices].mean())

    bounds = np.log([calibration.MIN_TEMPERATURE, calibration.MAX_TEMPERATURE])
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def apply_class_temperature(scores: ArrayLike, temperature: float) -> FloatArray:
    """Divides the logits of all classes by the temperature.

    Args:
        scores: (n, classes) 0 to 1, of which each row adds up to 1.
        temperature: above 0.

    Returns:
        (n, classes) scaled scores, of which each row adds up to 1.

    Example:
        >>> apply_class_temperature([[0.5, 0.5], [0.8, 0.2]], 2.0).round(3).tolist()
        [[0.5, 0.5], [0.667, 0.333]]
    """
    scaled: FloatArray = softmax(_logits(scores) / temperature, axis=1)
    return scaled


def class_reliability(truth: IntArray, scores: FloatArray) -> ClassReliability:
    """Computes the reliability of the highest score, and the Brier score and log loss of all scores.

    Args:
        truth: (n,) class indices.
        scores: (n, classes) 0 to 1, of which each row adds up to 1.
    """
    squared_errors, log_losses = score_losses(truth, scores)
    of_highest = calibration.reliability(predict_classes(scores) == truth, scores.max(axis=1))
    return {
        "expected_error": of_highest["expected_error"],
        "brier": float(squared_errors.mean()),
        "log_loss": float(log_losses.mean()),
        "curve": of_highest["curve"],
    }


def _compare_distributions(
    temperature: float, before: pd.DataFrame, after: pd.DataFrame, labels: Sequence[str]
) -> ClassCalibration:
    truth, scores = _known(before, labels)
    shares = np.bincount(truth, minlength=len(labels)) / len(truth)
    present = shares[shares > 0]
    is_known = read_classes(before, labels)[0] != UNKNOWN_CLASS
    return {
        "temperature": temperature,
        "n_images": len(truth),
        "n_patients": int(before["patient_id"][is_known].nunique()),
        "uninformed_brier": float(1 - (shares**2).sum()),
        "uninformed_log_loss": -float((present * np.log(present)).sum()),
        "before": class_reliability(truth, scores),
        "after": class_reliability(*_known(after, labels)),
    }


def _known(predictions: pd.DataFrame, labels: Sequence[str]) -> tuple[IntArray, FloatArray]:
    """Returns class indices and scores of the images of known class."""
    truth, scores = read_classes(predictions, labels)
    return truth[truth != UNKNOWN_CLASS], scores[truth != UNKNOWN_CLASS]


def _logits(scores: ArrayLike) -> FloatArray:
    logits: FloatArray = np.log(np.clip(np.asarray(scores, np.float64), MIN_SCORE, 1.0))
    return logits
