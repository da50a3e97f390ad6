"""What KFP's own page shows of an evaluation and compares between runs."""

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
    """What KFP shows: scalars by name; false and true positive rates with thresholds, or None; confusion matrix."""

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


def kfp_metrics(results: EvaluationResults, test: pd.DataFrame, labels: tuple[str, ...]) -> KfpMetrics:
    """Figures of both strategies and the gate; curve and confusion matrix over all labels' decisions taken together."""
    truth = test[[label_column(label) for label in labels]].to_numpy().ravel()
    scores = test[[score_column(label) for label in labels]].to_numpy().ravel()
    roc = roc_curve(truth, scores) if len(np.unique(truth[~np.isnan(truth)])) > 1 else None
    found = results["metrics"][PUBLISHED]["test"]["labels"].values()
    confusions = [label["confusion"] for label in found if label["confusion"]]
    confusion = np.sum(confusions, axis=0).astype(int).tolist() if confusions else [[0, 0], [0, 0]]
    figures = _strategies(results["metrics"]) | _published(results) | _gate(results["gate"])
    return KfpMetrics({name: value for name, value in figures.items() if value is not None}, roc, confusion)


def _strategies(metrics: Mapping[str, Mapping[str, SplitMetrics]]) -> dict[str, float | None]:
    return {
        f"{split}_{measure}_{strategy}": found["mean"][measure]["value"]
        for strategy, splits in metrics.items()
        for split, found in splits.items()
        for measure in MEASURES
    }


def _published(results: EvaluationResults) -> dict[str, float | None]:
    mean = results["metrics"][PUBLISHED]["test"]["mean"]
    return {
        **{f"test_{name}_{PUBLISHED}": mean[name]["value"] for name in PUBLISHED_MEASURES},
        "test_majority_accuracy": mean["majority_accuracy"],
        f"test_calibration_error_{PUBLISHED}": results["calibration"]["expected_error"],
        **{f"drift_{name}_p": test["p"] for name, test in results["drift"]["tests"].items()},
    }


def _gate(verdict: GateDecision) -> dict[str, float | None]:
    difference = verdict["mean"] and verdict["mean"]["difference"]
    return {
        "gate_promote": float(verdict["promote"]),
        "gate_auroc_difference": difference["value"] if difference else None,
    }
