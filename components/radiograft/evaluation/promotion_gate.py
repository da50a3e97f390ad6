"""The gate: whether a new model may become the production version, judged beside it on the same test images.

A label passes when the lower 95 % bound of the model's AUROC lies above its floor and, where there is a production
version, the lower 95 % bound of the difference of both AUROCs is not below minus the margin. Every label that counts
must pass, so no correction for several labels is due (an intersection-union test, Berger 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from radiograft.config.gate import MinimumAuroc
from radiograft.evaluation.model_comparison import compare_by_delong, compare_models, resample
from radiograft.registry.result_types import AurocComparison, Estimate, GateDecision
from radiograft.reporting.narrative import format_number


class Champion(NamedTuple):
    """The production version: its predictions on the test images (columns of `records.prediction_frame`, in the
    challenger's order), or None and the reason why it cannot be compared."""

    version: int
    predictions: pd.DataFrame | None
    refusal: str = ""


class GatePolicy(NamedTuple):
    """What a challenger must keep: `margin` is the most AUROC, 0 to 1, that it may lose on a label that counts.

    `fewest_patients` on test with a label, and as many without it, are what makes it estimable.
    """

    margin: float
    floors: MinimumAuroc
    fewest_patients: int


class GateCheck(NamedTuple):
    """One thing that must hold: the interval of what was estimated lies above `least`; of a difference, not below it.

    So a model that is its own champion passes at a margin of 0, and one that only guesses fails at a floor of 0.5.
    """

    label: str
    what: str
    found: Estimate
    least: float
    is_difference: bool

    @property
    def room(self) -> float:
        """How far the interval lies above `least`; negative where there is none."""
        low = self.found["low"]
        return -1.0 if low is None else low - self.least

    @property
    def passed(self) -> bool:
        """Whether it holds."""
        return self.room >= 0 if self.is_difference else self.room > 0

    def sentence(self) -> str:
        """What must hold and what was found; where it does not hold, also what would help."""
        low, high = format_number(self.found["low"]), format_number(self.found["high"])
        must = f"must {'not reach below' if self.is_difference else 'lie above'} {self.least:g}"
        told = f"the 95 % interval of {self.what} {must}, and is {low} to {high}"
        if self.passed:
            return told
        worse = self.found["value"] is None or self.found["value"] <= self.least
        return f"{told}: {'a better model is needed' if worse else 'test images of more patients may show it'}"


def decide_promotion(
    challenger: pd.DataFrame,
    champion: Champion | None,
    estimable: Sequence[str],
    rule: GatePolicy,
    samples: int,
    seed: int,
) -> GateDecision:
    """Decides whether the challenger may become the production version.

    Args:
        challenger: predictions on the test images, columns of `records.prediction_frame`.
        champion: the production version, None if there is none: then the floors alone decide.
        estimable: labels with a threshold and enough test patients with and without them.
        rule: margin, floors, and what makes a label estimable.
        samples: resamples of patients behind each interval, at least 40.
        seed: of the resampling; with that of the report, the intervals are the report's.

    Raises:
        ValueError: the champion was not asked about the same images in the same order.
    """
    models = [challenger] if champion is None or champion.predictions is None else [challenger, champion.predictions]
    areas = resample(models, estimable, samples, seed)
    compared = {label: compare_models(areas[:, column]) for column, label in enumerate(estimable)}
    judged = {label: found for label, found in compared.items() if found["challenger"]["low"] is not None}
    counting = [label in judged and label in rule.floors.by_label for label in estimable]
    checks = _checks(judged, champion, rule)
    against = [
        *_not_compared(judged, champion, estimable, rule),
        *_worst_check([check for check in checks if not check.passed]),
    ]
    return {
        "promote": not against,
        "reasons": against or [*_worst_check(checks), *([] if champion else ["no version is in production yet"])],
        "champion": None if champion is None else champion.version,
        "margin": rule.margin,
        "floors": dict(rule.floors.by_label),
        "labels": judged,
        "delong": {label: compare_by_delong(models, label) for label in judged if len(models) == 2},
        "mean": compare_models(areas[:, counting].mean(axis=1)) if any(counting) else None,
    }


def explain_decision(verdict: GateDecision) -> str:
    """The verdict in one sentence."""
    outcome = "Approved for promotion" if verdict["promote"] else "Not promoted"
    return f"{outcome}: {'; '.join(verdict['reasons'])}."


def _checks(judged: Mapping[str, AurocComparison], champion: Champion | None, rule: GatePolicy) -> list[GateCheck]:
    """What must hold of the judged labels that count."""
    counting = {label: judged[label] for label in rule.floors.by_label if label in judged}
    floors = [
        GateCheck(
            label, f"the AUROC for {label}", found["challenger"], rule.floors.by_label[label], is_difference=False
        )
        for label, found in counting.items()
    ]
    margins = [
        GateCheck(label, f"the AUROC for {label} minus version {champion.version}'s", difference, 0 - rule.margin, True)
        for label, found in counting.items()
        if champion is not None and (difference := found["difference"]) is not None
    ]
    return floors + margins


def _not_compared(
    judged: Mapping[str, AurocComparison], champion: Champion | None, estimable: Sequence[str], rule: GatePolicy
) -> list[str]:
    """Why the champion, or labels that must be judged, could not be."""
    reasons = []
    if champion is not None and champion.predictions is None:
        reasons.append(f"version {champion.version}, in production, could not be compared: {champion.refusal}")
    missing = [label for label in rule.floors.by_label if label not in judged]
    if not rule.floors.named and len(missing) < len(rule.floors.by_label):
        return reasons
    scarce = [label for label in missing if label not in estimable]
    if scarce:
        fewest = rule.fewest_patients
        reasons.append(
            f"{', '.join(scarce)} {'is' if len(scarce) == 1 else 'are'} not estimable: that needs both classes in "
            f"validation and at least {fewest} test patients with and {fewest} without it"
        )
    bare = [label for label in missing if label in estimable]
    if bare:
        reasons.append(f"the AUROC for {', '.join(bare)} has no interval: test images of more patients may give one")
    return reasons


def _worst_check(checks: Sequence[GateCheck]) -> list[str]:
    """Of each kind of check the one with the least room, with the labels that it stands for."""
    sentences = []
    for is_difference in (False, True):
        kind = sorted((each for each in checks if each.is_difference == is_difference), key=lambda each: each.room)
        if kind:
            likewise = f" (likewise {', '.join(each.label for each in kind[1:])})" if len(kind) > 1 else ""
            sentences.append(kind[0].sentence() + likewise)
    return sentences
