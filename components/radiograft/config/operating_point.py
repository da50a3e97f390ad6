"""The operating point as data: by which rule validation chooses each label's threshold."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import Scalar, Settings, setting


@dataclasses.dataclass(frozen=True)
class OperatingPoint(Settings):
    """Youden's point, or the most specific one that keeps a sensitivity."""

    sensitivity: float = setting(
        0.0, "Least sensitivity on validation; 0 is where sensitivity + specificity is highest.", low=0.0, high=1.0
    )


PRESETS: dict[str, dict[str, Scalar]] = {"youden": {}}
