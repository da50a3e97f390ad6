"""What KFP's own page shows of an evaluation and compares between runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.evaluation.predictions import PUBLISHED
from radiograft.metrics.multilabel import roc_curve

MEASURES = ("auroc", "average_precision", "accuracy")
PUBLISHED_MEASURES = ("sensitivity", "specificity", "brier")


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


def kfp_metrics(facts: dict[str, Any], test: pd.DataFrame, labels: tuple[str, ...]) -> KfpMetrics:
    """Figures of both strategies and the gate; curve and confusion matrix over all labels' decisions taken together."""
    truth = test[[label_column(label) for label in labels]].to_numpy().ravel()
    scores = test[[score_column(label) for label in labels]].to_numpy().ravel()
    roc = roc_curve(truth, scores) if len(np.unique(truth[~np.isnan(truth)])) > 1 else None
    found = facts["metrics"][PUBLISHED]["test"]["labels"].values()
    confusions = [label["confusion"] for label in found if label["confusion"]]
    confusion = np.sum(confusions, axis=0).astype(int).tolist() if confusions else [[0, 0], [0, 0]]
    figures = _strategies(facts["metrics"]) | _published(facts) | _gate(facts["gate"])
    return KfpMetrics({name: value for name, value in figures.items() if value is not None}, roc, confusion)


def _strategies(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        f"{split}_{measure}_{strategy}": found["mean"][measure]["value"]
        for strategy, splits in metrics.items()
        for split, found in splits.items()
        for measure in MEASURES
    }


def _published(facts: Mapping[str, Any]) -> dict[str, float | None]:
    mean = facts["metrics"][PUBLISHED]["test"]["mean"]
    return {
        **{f"test_{name}_{PUBLISHED}": mean[name]["value"] for name in PUBLISHED_MEASURES},
        "test_majority_accuracy": mean["majority_accuracy"],
        f"test_calibration_error_{PUBLISHED}": facts["calibration"]["expected_error"],
        **{f"drift_{name}_p": test["p"] for name, test in facts["drift"]["tests"].items()},
    }


def _gate(verdict: Mapping[str, Any]) -> dict[str, float | None]:
    difference = verdict["mean"] and verdict["mean"]["difference"]
    return {
        "gate_promote": float(verdict["promote"]),
        "gate_auroc_difference": difference["value"] if difference else None,
    }
