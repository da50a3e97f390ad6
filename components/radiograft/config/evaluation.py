"""Settings of evaluation, of the promotion gate, and of publishing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from radiograft.config.base import setting
from radiograft.config.gate import OPERATING_POINTS, MinimumAuroc, OperatingPoint, parse_min_auroc
from radiograft.config.shared import GateSettings, RegistrySettings, SeedSettings


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
    gate_noninferiority_margin: float = setting(
        0.02,
        "Non-inferiority margin: maximum loss in test AUROC relative to the production model, tested at the "
        "lower 95% confidence limit.",
        low=0.0,
        high=0.5,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.operating_point()

    def operating_point(self) -> OperatingPoint:
        """Returns the parsed `evaluate_operating_point`."""
        return OperatingPoint.parse("evaluate_operating_point", self.evaluate_operating_point, OPERATING_POINTS)

    def floors(self, labels: Sequence[str]) -> MinimumAuroc:
        """Returns the parsed `gate_min_auroc` for these labels."""
        return parse_min_auroc(self.gate_min_auroc, labels)


@dataclasses.dataclass(frozen=True)
class Publish(RegistrySettings):
    """Settings of the publish stage: the registry and the model name."""
