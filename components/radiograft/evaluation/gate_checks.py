"""The checks of the promotion gate, and the sentences that describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from radiograft.registry.result_types import Estimate
from radiograft.reporting.html import format_number


class GateCheck(NamedTuple):
    """Requires the lower limit of an interval to lie above `bound`, or for a difference, not below it.

    So a model compared with itself passes at a margin of 0, and a model that guesses fails at a minimum of 0.5.

    Attributes:
        label: the label.
        quantity: description of the estimated quantity.
        estimate: its estimate.
        bound: lower bound of the interval.
        is_difference: whether the quantity is a difference of two models.
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


def describe_worst(checks: Sequence[GateCheck]) -> list[str]:
    """Describes the check with the least slack of each kind and names the labels of the others."""
    sentences = []
    for is_difference in (False, True):
        of_kind = [check for check in checks if check.is_difference == is_difference]
        if of_kind:
            worst, *others = sorted(of_kind, key=lambda check: check.slack)
            also = f" (also {', '.join(check.label for check in others)})" if others else ""
            sentences.append(worst.describe() + also)
    return sentences
