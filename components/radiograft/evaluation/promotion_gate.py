"""The promotion gate: decides whether a new model may replace the production model.

A label passes if the lower 95% confidence limit of the new model's AUROC lies above its minimum and, if a version is in
production, the lower limit of the difference in AUROC on the same test images is at least minus the margin. Every label
with a minimum must pass, so no correction for multiple labels is needed (an intersection-union test, Berger 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from radiograft.config.gate import MinimumAuroc
from radiograft.evaluation.model_comparison import bootstrap_aurocs, compare_by_delong, compare_models
from radiograft.registry.result_types import AurocComparison, Estimate, GateDecision
from radiograft.reporting.narrative import format_number


class Champion(NamedTuple):
    """The production model.

    Attributes:
        version: its version number.
        predictions: its predictions on the test images in the order of the challenger's, with the columns of
            `prediction_frame`; None if it cannot be compared.
        rejection_reason: why it cannot be compared.
    """

    version: int
    predictions: pd.DataFrame | None
    rejection_reason: str = ""


class GatePolicy(NamedTuple):
    """Requirements for promotion.

    Attributes:
        margin: non-inferiority margin, the maximum loss in AUROC, 0 to 1, on a label with a minimum.
        min_auroc: minimum AUROC by label.
        min_patients: number of test patients with, and without, a label that makes it estimable.
    """

    margin: float
    min_auroc: MinimumAuroc
    min_patients: int


class GateCheck(NamedTuple):
    """Requires the lower limit of an interval to lie above `bound`, or for a difference, not below it.

    So a model compared with itself passes at a margin of 0, and a model that guesses fails at a minimum of 0.5.

    Attributes:
        label: the label.
        quantity: description of the estimated quantity.
        estimate: its estimate.
        bound: lower bound of the interval.
        is_difference: whether the quantity is a difference of AUROCs.
    """

    label: str
    quantity: str
    estimate: Estimate
    bound: float
    is_difference: bool

    @property
    def slack(self) -> float:
        """Lower limit of the interval minus `bound`; -1 if there is no interval."""
        low = self.estimate["low"]
        return -1.0 if low is None else low - self.bound

    @property
    def passed(self) -> bool:
        """Whether the requirement is met."""
        return self.slack >= 0 if self.is_difference else self.slack > 0

    def describe(self) -> str:
        """Returns the requirement and the interval and, if the check failed, what would help."""
        low, high = format_number(self.estimate["low"]), format_number(self.estimate["high"])
        requirement = f"must {'not reach below' if self.is_difference else 'lie above'} {self.bound:g}"
        sentence = f"the 95% interval of {self.quantity} {requirement}, and is {low} to {high}"
        if self.passed:
            return sentence
        value = self.estimate["value"]
        inconclusive = value is not None and value > self.bound
        return f"{sentence}: {'more test patients may narrow it' if inconclusive else 'a better model is needed'}"


def decide_promotion(
    challenger: pd.DataFrame,
    champion: Champion | None,
    estimable: Sequence[str],
    policy: GatePolicy,
    samples: int,
    seed: int,
) -> GateDecision:
    """Decides whether the challenger may replace the production model.

    Args:
        challenger: predictions on the test images, with the columns of `prediction_frame`.
        champion: the production model; None if no version is in production. Only the minimum AUROC then applies.
        estimable: labels with a threshold and enough test patients with and without them.
        policy: the requirements.
        samples: number of patient resamples for each interval, at least 40.
        seed: seed of the resampling. With the seed of the report, the intervals equal those of the report.

    Raises:
        ValueError: the champion predicted other images, or in another order.
    """
    models = [challenger] if champion is None or champion.predictions is None else [challenger, champion.predictions]
    aurocs = bootstrap_aurocs(models, estimable, samples, seed)
    comparisons = {label: compare_models(aurocs[:, column]) for column, label in enumerate(estimable)}
    compared = {label: result for label, result in comparisons.items() if result["challenger"]["low"] is not None}
    required = [label in compared and label in policy.min_auroc.by_label for label in estimable]
    checks = _make_checks(compared, champion, policy)
    objections = [
        *_explain_missing(compared, champion, estimable, policy),
        *_describe_worst([check for check in checks if not check.passed]),
    ]
    return {
        "promote": not objections,
        "reasons": objections or [*_describe_worst(checks), *([] if champion else ["no version is in production yet"])],
        "champion": None if champion is None else champion.version,
        "margin": policy.margin,
        "floors": dict(policy.min_auroc.by_label),
        "labels": compared,
        "delong": {label: compare_by_delong(models, label) for label in compared if len(models) == 2},
        "mean": compare_models(aurocs[:, required].mean(axis=1)) if any(required) else None,
    }


def explain_decision(decision: GateDecision) -> str:
    """Returns the decision and its reasons as one sentence."""
    outcome = "Approved for promotion" if decision["promote"] else "Not promoted"
    return f"{outcome}: {'; '.join(decision['reasons'])}."


def _make_checks(
    compared: Mapping[str, AurocComparison], champion: Champion | None, policy: GatePolicy
) -> list[GateCheck]:
    """Returns the checks of all compared labels that have a minimum: first the minimums, then the differences."""
    minimums, differences = [], []
    for label, minimum in policy.min_auroc.by_label.items():
        if label not in compared:
            continue
        comparison, quantity = compared[label], f"the AUROC for {label}"
        minimums.append(GateCheck(label, quantity, comparison["challenger"], minimum, is_difference=False))
        if champion is not None and comparison["difference"] is not None:
            quantity += f" minus version {champion.version}'s"
            bound = 0 - policy.margin  # not -0.0 at a margin of 0
            differences.append(GateCheck(label, quantity, comparison["difference"], bound, is_difference=True))
    return minimums + differences


def _explain_missing(
    compared: Mapping[str, AurocComparison], champion: Champion | None, estimable: Sequence[str], policy: GatePolicy
) -> list[str]:
    """Explains why the champion, or labels that must be compared, could not be compared."""
    reasons = []
    if champion is not None and champion.predictions is None:
        reasons.append(f"production version {champion.version} could not be compared: {champion.rejection_reason}")
    required = policy.min_auroc.by_label
    missing = [label for label in required if label not in compared]
    if not policy.min_auroc.named and len(missing) < len(required):
        return reasons
    not_estimable = [label for label in missing if label not in estimable]
    if not_estimable:
        reasons.append(
            f"{', '.join(not_estimable)} {'is' if len(not_estimable) == 1 else 'are'} not estimable: validation must "
            f"have both classes, and test at least {policy.min_patients} patients with and {policy.min_patients} "
            "without the label"
        )
    without_interval = [label for label in missing if label in estimable]
    if without_interval:
        names = ", ".join(without_interval)
        reasons.append(f"the AUROC for {names} has no confidence interval: more test patients are needed")
    return reasons


def _describe_worst(checks: Sequence[GateCheck]) -> list[str]:
    """Describes the check with the least slack of each kind and names the labels of the others."""
    sentences = []
    for is_difference in (False, True):
        of_kind = [check for check in checks if check.is_difference == is_difference]
        if of_kind:
            worst, *others = sorted(of_kind, key=lambda check: check.slack)
            also = f" (also {', '.join(check.label for check in others)})" if others else ""
            sentences.append(worst.describe() + also)
    return sentences
