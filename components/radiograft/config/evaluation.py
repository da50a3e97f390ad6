"""Settings of evaluation, of the promotion gate, and of publishing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from radiograft.config.base import (
    GateSettings,
    RegistrySettings,
    Scalar,
    SeedSettings,
    Settings,
    check_http_url,
    check_uri,
    did_you_mean,
    read_scalar,
    setting,
)
from radiograft.utils.quoting import split_pair, split_quoted
from radiograft.utils.text import check_record_name

NAME = "gate_min_auroc"
MEAN = "mean"  # unless a label has this name


OPERATING_POINTS: dict[str, dict[str, Scalar]] = {"youden": {}}


@dataclasses.dataclass(frozen=True)
class Evaluate(RegistrySettings, GateSettings, SeedSettings):
    """Settings of the evaluate stage: confidence intervals, operating point and promotion gate."""

    evaluate_bootstrap_samples: int = setting(
        1000, "Bootstrap resamples of the patients for each 95% interval.", unit="resamples", low=100, high=100_000
    )
    # Measured coverage of the 95% interval with 150 negatives and AUROCs of 0.65 to 0.92: 51 to 59% with 2 positives,
    # 80 to 86% with 5, and 82 to 92% with 10.
    evaluate_min_patients: int = setting(
        10,
        "Minimum number of patients with, and without, a label for its metrics to be estimated.",
        unit="patients",
        low=1,
        high=1000,
    )
    evaluate_operating_point: str = setting(
        "youden",
        "How thresholds are chosen on validation: `youden`, or a minimum sensitivity such as sensitivity=0.9",
    )
    evaluate_ordered_classes: bool = setting(
        False,
        "Whether the exclusive classes (`data_task=multiclass`) are ordered as in `data_labels`, such as grades of a "
        "disease. If so, Cohen's kappa with quadratic weights is also reported.",
    )
    gate_noninferiority_margin: float = setting(
        0.02,
        "Non-inferiority margin: maximum loss in test AUROC relative to the production model, tested at the "
        "lower 95% confidence limit.",
        low=0.0,
        high=0.5,
    )
    evaluate_masks: str = setting(
        "",
        "Folder or URI of masks of the test images, such as of their lungs, named as the images, or a table of boxes, "
        "whose columns of boxes end in `_box`; the report then shows the share of heat inside them. Empty for none.",
    )

    gate_min_r2: float = setting(
        0.0,
        "Minimum test R² of each target for promotion (`data_task=regression`), which the whole 95% interval must "
        "exceed. 0 is that of always predicting the mean. The production model is compared by the mean absolute error: "
        "gate_noninferiority_margin is then a fraction of the error of always predicting the median of training.",
        low=0.0,
        high=0.99,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.operating_point()
        if self.evaluate_masks:
            check_uri("evaluate_masks", self.evaluate_masks)

    def operating_point(self) -> OperatingPoint:
        """Returns the parsed `evaluate_operating_point`."""
        return OperatingPoint.parse("evaluate_operating_point", self.evaluate_operating_point, OPERATING_POINTS)

    def floors(self, labels: Sequence[str]) -> MinimumAuroc:
        """Returns the parsed `gate_min_auroc` for these labels."""
        return parse_min_auroc(self.gate_min_auroc, labels)


@dataclasses.dataclass(frozen=True)
class Publish(RegistrySettings):
    """Settings of the publish stage: the registry, the model name, and where versions are also registered."""

    gate_external: str = setting(
        "",
        "External sets that promotion requires, each with the AUROC that the whole 95% interval must exceed, such as "
        "covid=0.7,nih=0.65; empty for none. A version is then a candidate until `radiograft evaluate` has recorded "
        "them and `radiograft models promote` finds them high enough.",
    )
    publish_model_registry: str = setting(
        "",
        "URL of a Kubeflow Model Registry in which each version is registered, such as "
        "http://model-registry-service.kubeflow:8080; empty for none.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.publish_model_registry:
            check_http_url("publish_model_registry", self.publish_model_registry)
        self.external_minimums()

    def external_minimums(self) -> dict[str, float]:
        """Returns the parsed `gate_external`: the minimum AUROC by external set."""
        return parse_external_minimums(self.gate_external)


class MinimumAuroc(NamedTuple):
    """Minimum AUROC, 0 to 1, of each label that the promotion gate checks.

    Attributes:
        by_label: the minimum by label.
        named: whether the labels were listed explicitly. A listed label must be estimable on the test images. With
            one minimum for all labels, those that are not estimable are skipped.
        mean: the minimum of the mean over the estimable labels, None for none.
    """

    by_label: Mapping[str, float]
    named: bool
    mean: float | None = None


def parse_min_auroc(text: str, labels: Sequence[str]) -> MinimumAuroc:
    """Parses `0.7`, a minimum for all of `labels`, or `Pneumonia=0.8,mean=0.7`, which checks only these labels and the
    mean over labels.

    Raises:
        ValueError: the text has neither form, a label is unknown or repeated, or a minimum is outside [0, 1).

    Example:
        >>> parse_min_auroc("Mass=0.7", ["Mass", "Edema"]).by_label
        {'Mass': 0.7}
    """
    if "=" not in text:
        return MinimumAuroc(dict.fromkeys(labels, _parse_minimum(NAME, text)), named=False)
    pairs = [split_pair(part) for part in split_quoted(text)]
    values = {name: value for name, _, value in pairs}
    if not all(separator for _, separator, _ in pairs) or len(values) < len(pairs):
        raise ValueError(f"{NAME} must be a number, or name each label once as label=number,..., got {text!r}")
    mean = None if MEAN in labels else values.pop(MEAN, None)
    for name in values:
        if name not in labels:
            raise ValueError(
                f"{NAME} must name labels from {', '.join(labels)}, got {name!r}{did_you_mean(name, labels)}"
            )
    by_label = {name: _parse_minimum(f"{NAME}'s {name}", value) for name, value in values.items()}
    return MinimumAuroc(by_label, named=True, mean=None if mean is None else _parse_minimum(f"{NAME}'s {MEAN}", mean))


def parse_external_minimums(text: str) -> dict[str, float]:
    """Parses `gate_external`, such as `covid=0.7,nih=0.65`.

    Raises:
        ValueError: the text has another form, a set is repeated or has an invalid name, or a minimum is outside [0, 1).

    Example:
        >>> parse_external_minimums("covid=0.7")
        {'covid': 0.7}
    """
    pairs = [part.partition("=") for part in text.split(",")] if text else []
    values = {name.strip(): value.strip() for name, _, value in pairs}
    if not all(separator for _, separator, _ in pairs) or len(values) < len(pairs):
        raise ValueError(f"gate_external must name each external set once as set=minimum,..., got {text!r}")
    for name in values:
        check_record_name("gate_external", name)
    return {name: _parse_minimum(f"gate_external's {name}", value) for name, value in values.items()}


def _parse_minimum(name: str, text: str) -> float:
    minimum = float(read_scalar(name, text, float))
    if not 0 <= minimum < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {text}")
    return minimum


@dataclasses.dataclass(frozen=True)
class OperatingPoint(Settings):
    """Operating point of a label: Youden's index, or the highest specificity at a minimum sensitivity."""

    sensitivity: float = setting(
        0.0, "Minimum sensitivity on validation; 0 maximizes sensitivity + specificity instead.", low=0.0, high=1.0
    )
