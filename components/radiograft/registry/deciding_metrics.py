"""The metrics of metrics.json that decide about a version."""

from __future__ import annotations

from typing import NamedTuple

from radiograft.registry.result_types import Estimate, RegressionMetrics, SplitMetrics
from radiograft.registry.results import EvaluationResults


class Accuracy(NamedTuple):
    """An accuracy beside the accuracy of always predicting the majority class.

    Attributes:
        accuracy: of the class with the highest score if the classes are exclusive, else the mean over labels.
        majority: of the majority class of training if the classes are exclusive, else the mean over labels.
    """

    accuracy: Estimate
    majority: Estimate


def split_accuracy(metrics: SplitMetrics) -> Accuracy:
    """Returns the accuracy of a split, of exclusive classes as well as of independent labels."""
    if "classes" in metrics:
        return Accuracy(metrics["classes"]["accuracy"], metrics["classes"]["majority_accuracy"])
    mean = metrics["mean"]
    return Accuracy(mean["accuracy"], {"value": mean["majority_accuracy"], "low": None, "high": None})


def deciding_metrics(results: EvaluationResults) -> dict[str, float]:
    """Returns the metrics that decide about a version, under the names that KFP and the Model Registry show.

    `auroc_test` with the limits of its 95% interval, `accuracy_test` and `majority_test` (the accuracy of always
    predicting the majority class) are means over labels of the published strategy on test, 0 to 1. For exclusive
    classes, the accuracies are those of the class with the highest score and of the majority class of training, and
    there is `balanced_test`, the balanced accuracy. A metric that cannot be estimated is omitted. `gate_promoted` is
    1.0 if the gate approved the version, else 0.0.

    If the targets are numbers, `r2_test` with its limits takes the place of the AUROC, as a mean over targets. A single
    target also has `mae_test`, and `median_test`, the error of always predicting the median of training, in its unit.
    """
    test = results["metrics"][results["published"]]["test"]
    if "regression" in test:
        return _deciding_target_metrics(test["regression"], promoted=results["gate"]["promote"])
    mean, (accuracy, majority) = test["mean"], split_accuracy(test)
    metrics = {
        "auroc_test": mean["auroc"]["value"],
        "auroc_test_low": mean["auroc"]["low"],
        "auroc_test_high": mean["auroc"]["high"],
        "accuracy_test": accuracy["value"],
        "majority_test": majority["value"],
        "balanced_test": test["classes"]["balanced_accuracy"]["value"] if "classes" in test else None,
        "gate_promoted": float(results["gate"]["promote"]),
    }
    return {name: value for name, value in metrics.items() if value is not None}


def _deciding_target_metrics(test: RegressionMetrics, *, promoted: bool) -> dict[str, float]:
    """Returns the metrics that decide about a version that predicts numbers."""
    metrics = {
        "r2_test": test["r2"]["value"],
        "r2_test_low": test["r2"]["low"],
        "r2_test_high": test["r2"]["high"],
        "gate_promoted": float(promoted),
    }
    if len(test["targets"]) == 1:
        (target,) = test["targets"].values()
        metrics |= {"mae_test": target["mae"]["value"], "median_test": target["baseline_mae"]["value"]}
    return {name: value for name, value in metrics.items() if value is not None}
