"""Tables and plot of exclusive classes for the reports and the model card."""

from __future__ import annotations

from typing import NamedTuple

from radiograft.registry.result_types import ClassMetrics, Estimate, SplitMetrics
from radiograft.reporting.html import format_number
from radiograft.reporting.plots import confusion_svg


class ClassRow(NamedTuple):
    """A metric of exclusive classes with the value of a model without skill.

    Attributes:
        name: the metric.
        estimate: its value and interval.
        baseline: the value and interval of the baseline.
        baseline_name: what the baseline does.
    """

    name: str
    estimate: Estimate
    baseline: Estimate
    baseline_name: str


class ConfusionPlot(NamedTuple):
    """The confusion matrix as a plot with its alternative text."""

    svg: str
    alt: str


def class_rows(split: SplitMetrics) -> list[ClassRow]:
    """Returns the metrics of exclusive classes on a split, each with its baseline; empty for independent labels."""
    if "classes" not in split:
        return []
    classes = split["classes"]
    n_present = sum(sum(row) > 0 for row in classes["confusion"])
    majority = f"always {classes['majority_class']}, the most frequent class in training"
    rows = [
        ClassRow("Accuracy", classes["accuracy"], classes["majority_accuracy"], majority),
        ClassRow(
            "Balanced accuracy", classes["balanced_accuracy"], _constant(1 / max(n_present, 1)), "always one class"
        ),
        ClassRow("Mean AUROC, one class against the rest", split["mean"]["auroc"], _constant(0.5), "chance"),
    ]
    if classes["kappa"] is not None:
        rows.append(ClassRow("Quadratic-weighted kappa", classes["kappa"], _constant(0.0), "chance"))
    shares = [sum(row) / max(classes["n_images"], 1) for row in classes["confusion"]]
    uninformed = _constant(1 - sum(share**2 for share in shares))
    rows.append(ClassRow("Brier score (lower is better)", classes["brier"], uninformed, "the shares of the classes"))
    return rows


def confusion_plot(classes: ClassMetrics) -> ConfusionPlot:
    """Plots the confusion matrix."""
    correct = [
        f"{name} {format_number(row[index]['value'])}"
        for index, (name, row) in enumerate(zip(classes["names"], classes["shares"], strict=True))
    ]
    alt = f"Confusion matrix of {len(classes['names'])} classes; share of correct predictions: {', '.join(correct)}"
    return ConfusionPlot(confusion_svg(classes["names"], classes["confusion"]), alt)


def _constant(value: float) -> Estimate:
    return {"value": value, "low": None, "high": None}
