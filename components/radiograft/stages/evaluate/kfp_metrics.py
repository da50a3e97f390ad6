"""Metrics of an evaluation for the KFP UI, which compares them between runs.

KFP sorts metrics by name, shows ten a page, and "Compare runs" cuts long names. Names therefore have at most 20
characters. The metrics that decide about a version (`registry.deciding_metrics`, and `version` of the publish
stage) come first. All others begin with `x_`. Together they are at most 20, so these are left out; metrics.json and the
report have them: accuracy and average precision on validation, and all metrics of feature extraction except its AUROC
on test.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from radiograft.data.catalog import label_column, score_column
from radiograft.evaluation.predictions import PUBLISHED
from radiograft.metrics.multilabel import roc_curve
from radiograft.registry.deciding_metrics import deciding_metrics
from radiograft.registry.result_types import MeanMetrics
from radiograft.registry.results import EvaluationResults

FURTHER = "x_"  # sorts after `version`, which the publish stage adds


class KfpMetrics(NamedTuple):
    """Metrics for the KFP UI.

    Attributes:
        scalars: name -> value.
        roc: false positive rates, true positive rates and thresholds; None if no label is estimable.
        confusion: [[true negatives, false positives], [false negatives, true positives]], or for exclusive classes the
            number of images by true and predicted class.
        categories: names of the rows and columns of `confusion`; none if the targets are numbers.
    """

    scalars: dict[str, float]
    roc: tuple[list[float], list[float], list[float]] | None
    confusion: list[list[int]]
    categories: Sequence[str] = ("absent", "present")

    def log_to(self, metrics: Any, curves: Any) -> None:
        """Logs to KFP's Metrics and ClassificationMetrics artifacts."""
        for name, value in self.scalars.items():
            metrics.log_metric(name, value)
        if self.categories:
            curves.log_confusion_matrix(list(self.categories), self.confusion)
        if self.roc:
            curves.log_roc_curve(*self.roc)


def kfp_metrics(results: EvaluationResults, test: pd.DataFrame) -> KfpMetrics:
    """Collects the metrics that decide about the version, and the further ones.

    The ROC curve pools the predictions of the estimable labels, the confusion matrix those of all labels with a
    threshold. For exclusive classes, it is the confusion matrix of the classes.

    Args:
        results: content of metrics.json.
        test: predictions of the published strategy on test.
    """
    if "regression" in results["metrics"][PUBLISHED]["test"]:
        return KfpMetrics(deciding_metrics(results) | _target_metrics(results), None, [], ())
    labels = results["metrics"][PUBLISHED]["test"]["mean"]["labels"]
    truth = test[[label_column(label) for label in labels]].to_numpy().ravel()
    scores = test[[score_column(label) for label in labels]].to_numpy().ravel()
    roc = roc_curve(truth, scores) if labels else None
    further = {f"{FURTHER}{name}": value for name, value in _further_metrics(results).items() if value is not None}
    classes = results["metrics"][PUBLISHED]["test"].get("classes")
    if classes:
        return KfpMetrics(deciding_metrics(results) | further, roc, classes["confusion"], classes["names"])
    by_label = results["metrics"][PUBLISHED]["test"]["labels"].values()
    confusions = [metrics["confusion"] for metrics in by_label if metrics["confusion"]]
    confusion = np.sum(confusions, axis=0).astype(int).tolist() if confusions else [[0, 0], [0, 0]]
    return KfpMetrics(deciding_metrics(results) | further, roc, confusion)


def _target_metrics(results: EvaluationResults) -> dict[str, float]:
    """Returns the further metrics of numbers; those in the target's unit only if there is one target."""
    published, features = results["metrics"][PUBLISHED], results["metrics"]["feature_extraction"]
    values: dict[str, float | None] = {
        "r2_features": features["test"]["regression"]["r2"]["value"],
        "r2_validation": published["validation"]["regression"]["r2"]["value"],
        **{f"drift_{name}_p": check["p"] for name, check in results["drift"]["tests"].items()},
    }
    targets = published["test"]["regression"]["targets"]
    if len(targets) == 1:
        (target,) = targets.values()
        values |= {name: target[name]["value"] for name in ("rmse", "mean_error")}
    return {f"{FURTHER}{name}": value for name, value in values.items() if value is not None}


def _further_metrics(results: EvaluationResults) -> dict[str, float | None]:
    strategies, difference = results["metrics"], results["gate"]["mean"] and results["gate"]["mean"]["difference"]
    validation, test = strategies[PUBLISHED]["validation"]["mean"], strategies[PUBLISHED]["test"]["mean"]
    # The mean sensitivity of exclusive classes is the balanced accuracy, which is among the deciding metrics.
    decisions = {} if "classes" in strategies[PUBLISHED]["test"] else _decisions(test)
    return {
        "auroc_difference": difference["value"] if difference else None,
        "auroc_features": strategies["feature_extraction"]["test"]["mean"]["auroc"]["value"],
        "auroc_validation": validation["auroc"]["value"],
        "avg_precision": test["average_precision"]["value"],
        "brier": test["brier"]["value"],
        "calibration_error": results["calibration"]["expected_error"],
        **_class_metrics(results),
        **{f"drift_{name}_p": check["p"] for name, check in results["drift"]["tests"].items()},
        **decisions,
    }


def _decisions(test: MeanMetrics) -> dict[str, float | None]:
    return {"sensitivity": test["sensitivity"]["value"], "specificity": test["specificity"]["value"]}


def _class_metrics(results: EvaluationResults) -> dict[str, float | None]:
    """Returns the metrics of all classes together, which replace the means over classes; empty for independent labels.

    The calibration error is that of the highest score.
    """
    classes, calibration = results["metrics"][PUBLISHED]["test"].get("classes"), results["calibration"].get("classes")
    if not classes:
        return {}
    return {
        "brier": classes["brier"]["value"],
        "calibration_error": calibration["before"]["expected_error"] if calibration else None,
        "kappa": classes["kappa"]["value"] if classes["kappa"] else None,
    }
