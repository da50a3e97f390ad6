"""Metrics of an evaluation for the KFP UI, which compares them between runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.evaluation.predictions import PUBLISHED
from radiograft.metrics.multilabel import roc_curve
from radiograft.registry.result_types import GateDecision, SplitMetrics
from radiograft.registry.results import EvaluationResults

MEASURES: tuple[Literal["auroc", "average_precision", "accuracy"], ...] = ("auroc", "average_precision", "accuracy")
PUBLISHED_MEASURES: tuple[Literal["sensitivity", "specificity", "brier"], ...] = ("sensitivity", "specificity", "brier")


class KfpMetrics(NamedTuple):
    """Metrics for the KFP UI.

    Attributes:
        scalars: name -> value.
        roc: false positive rates, true positive rates and thresholds; None if no label is estimable.
        confusion: [[true negatives, false positives], [false negatives, true positives]].
    """

    scalars: dict[str, float]
    roc: tuple[list[float], list[float], list[float]] | None
    confusion: list[list[int]]

    def log_to(self, metrics: Any, curves: Any) -> None:
        """Logs to KFP's Metrics and ClassificationMetrics artifacts."""
        for name, value in self.scalars.items():
            metrics.log_metric(name, value)
        curves.log_confusion_matrix(["absent", "present"], self.confusion)
        if self.roc:
            curves.log_roc_curve(*self.roc)


def kfp_metrics(results: EvaluationResults, test: pd.DataFrame) -> KfpMetrics:
    """Collects the metrics of both strategies and of the gate.

    The ROC curve pools the predictions of the estimable labels, the confusion matrix those of all labels with a
    threshold.

    Args:
        results: content of metrics.json.
        test: predictions of the published strategy on test.
    """
    labels = results["metrics"][PUBLISHED]["test"]["mean"]["labels"]
    truth = test[[label_column(label) for label in labels]].to_numpy().ravel()
    scores = test[[score_column(label) for label in labels]].to_numpy().ravel()
    roc = roc_curve(truth, scores) if labels else None
    by_label = results["metrics"][PUBLISHED]["test"]["labels"].values()
    confusions = [metrics["confusion"] for metrics in by_label if metrics["confusion"]]
    confusion = np.sum(confusions, axis=0).astype(int).tolist() if confusions else [[0, 0], [0, 0]]
    scalars = _strategy_metrics(results["metrics"]) | _published_metrics(results) | _gate_metrics(results["gate"])
    return KfpMetrics({name: value for name, value in scalars.items() if value is not None}, roc, confusion)


def _strategy_metrics(metrics: Mapping[str, Mapping[str, SplitMetrics]]) -> dict[str, float | None]:
    return {
        f"{split}_{measure}_{strategy}": split_metrics["mean"][measure]["value"]
        for strategy, splits in metrics.items()
        for split, split_metrics in splits.items()
        for measure in MEASURES
    }


def _published_metrics(results: EvaluationResults) -> dict[str, float | None]:
    mean = results["metrics"][PUBLISHED]["test"]["mean"]
    return {
        **{f"test_{name}_{PUBLISHED}": mean[name]["value"] for name in PUBLISHED_MEASURES},
        "test_majority_accuracy": mean["majority_accuracy"],
        f"test_calibration_error_{PUBLISHED}": results["calibration"]["expected_error"],
        **{f"drift_{name}_p": test["p"] for name, test in results["drift"]["tests"].items()},
    }


def _gate_metrics(decision: GateDecision) -> dict[str, float | None]:
    difference = decision["mean"] and decision["mean"]["difference"]
    return {
        "gate_promote": float(decision["promote"]),
        "gate_auroc_difference": difference["value"] if difference else None,
    }
