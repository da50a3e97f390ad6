"""What the numbers say, in sentences: the report's first line and the cautions under it."""

from __future__ import annotations

from radiograft.metrics.bootstrap import Estimate
from radiograft.metrics.multilabel import SplitMetrics

STRATEGIES = {"feature_extraction": "Feature extraction", "fine_tuning": "Fine-tuning"}


def format_number(value: float | None) -> str:
    """Three decimals, or a dash for what could not be estimated."""
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def headline(strategy: str, test: SplitMetrics) -> str:
    """One sentence: AUROC with its interval, patients, accuracy beside that of the more frequent answer."""
    mean = test["mean"]
    estimable, labels = mean["labels"], list(test["labels"])
    if not estimable:
        return (
            f"{STRATEGIES[strategy]} has no AUROC that could be estimated on the {test['n_images']:,} test images of "
            f"{test['n_patients']:,} patients: no label has enough of both classes there and in validation; "
            f"{_accuracy_clause(mean['accuracy']['value'], mean['majority_accuracy'])}"
        )
    if len(labels) == 1:
        claim = f"separates images with and without {labels[0]} at an AUROC of"
    else:
        claim = f"reaches, over {len(estimable)} of {len(labels)} labels, a mean AUROC of"
    return (
        f"{STRATEGIES[strategy]} {claim} {_with_interval(mean['auroc'])} on {test['n_images']:,} test "
        f"images of {test['n_patients']:,} patients; "
        f"{_accuracy_clause(mean['accuracy']['value'], mean['majority_accuracy'])}"
    )


def _with_interval(auroc: Estimate) -> str:
    if auroc["low"] is None:
        return f"{format_number(auroc['value'])} (too few patients for an interval)"
    return f"{format_number(auroc['value'])} (95 % interval {format_number(auroc['low'])} to {format_number(auroc['high'])})"


def _accuracy_clause(accuracy: float | None, majority: float | None) -> str:
    if accuracy is not None and majority is not None and accuracy <= majority:
        return (
            f"its accuracy of {format_number(accuracy)} is no better than the {format_number(majority)} of always giving "
            "the more frequent answer."
        )
    return f"its accuracy is {format_number(accuracy)}, where always giving the more frequent answer reaches {format_number(majority)}."


def _lead_may_be_chance(accuracy: Estimate, majority: float | None) -> bool:
    if accuracy["value"] is None or accuracy["low"] is None or majority is None:
        return False
    return accuracy["low"] <= majority < accuracy["value"]


def cautions(test: SplitMetrics) -> list[str]:
    """What a reader of the headline must know beside it."""
    low = test["mean"]["auroc"]["low"]
    missing = [name for name in test["labels"] if name not in test["mean"]["labels"]]
    accuracy, majority = test["mean"]["accuracy"], test["mean"]["majority_accuracy"]
    sentences = []
    if low is not None and low <= 0.5:
        sentences.append("The interval of the AUROC reaches 0.5: chance alone could explain the result.")
    if _lead_may_be_chance(accuracy, majority):
        sentences.append(
            f"The interval of the accuracy, {format_number(accuracy['low'])} to {format_number(accuracy['high'])}, reaches the "
            f"{format_number(majority)} of always giving the more frequent answer: chance alone could explain its lead."
        )
    if missing:
        sentences.append(
            "Not estimable, for want of patients with or without it in validation or test, and not in the mean: "
            f"{', '.join(missing)}."
        )
    return sentences
