"""Settings of the verdict on a model, and of where its versions go."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from radiograft.config.base import setting
from radiograft.config.gate import OPERATING_POINTS, MinimumAuroc, OperatingPoint, parse_min_auroc
from radiograft.config.shared import GateSettings, RegistrySettings, SeedSettings


@dataclasses.dataclass(frozen=True)
class Evaluate(RegistrySettings, GateSettings, SeedSettings):
    """How sure the figures are, and what a model must keep to become the production version."""

    evaluate_bootstrap_samples: int = setting(
        1000, "Resamplings of patients behind each 95 % interval.", unit="resamplings", low=100, high=100_000
    )
    # Measured with 150 negatives and AUROCs of 0.65 to 0.92: the 95 % interval held the true value in 51 to 59 % of
    # trials with 2 positives, 80 to 86 % with 5 and 82 to 92 % with 10.
    evaluate_min_patients: int = setting(
        10, "Patients with, and patients without a label that its figures need.", unit="patients", low=1, high=1000
    )
    evaluate_operating_point: str = setting(
        "youden", "Where validation puts each threshold: `youden`, or the sensitivity to keep there: sensitivity=0.9"
    )
    gate_noninferiority_margin: float = setting(
        0.02,
        "Most test AUROC that a new model may lose to the production version, at the lower end of the 95 % interval.",
        low=0.0,
        high=0.5,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.operating_point()

    def operating_point(self) -> OperatingPoint:
        """What `evaluate_operating_point` says."""
        return OperatingPoint.parse("evaluate_operating_point", self.evaluate_operating_point, OPERATING_POINTS)

    def floors(self, labels: Sequence[str]) -> MinimumAuroc:
        """What `gate_min_auroc` says of these labels."""
        return parse_min_auroc(self.gate_min_auroc, labels)


@dataclasses.dataclass(frozen=True)
class Publish(RegistrySettings):
    """Where the versioned model goes."""
