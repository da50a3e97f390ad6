"""The setting `gate_min_auroc`: which labels count for the gate, and above which AUROC a model must be for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from radiograft.config.base import Scalar, Settings, did_you_mean, read_scalar, setting

NAME = "gate_min_auroc"


OPERATING_POINTS: dict[str, dict[str, Scalar]] = {"youden": {}}


class MinimumAuroc(NamedTuple):
    """Floors of the AUROC, 0 to 1, of the labels that count.

    `named` tells labels that were asked for one by one, each of which must be judged, from one number for every label,
    which passes over those that cannot be judged on the test images.
    """

    by_label: Mapping[str, float]
    named: bool


def parse_min_auroc(text: str, labels: Sequence[str]) -> MinimumAuroc:
    """Reads `0.7`, one floor for all of `labels`, or `Pneumonia=0.8,Mass=0.7`, where only these count.

    Raises:
        ValueError: neither form, an unknown label (the nearest is given) or one named twice, a floor outside 0 to 1.
    """
    if "=" not in text:
        return MinimumAuroc(dict.fromkeys(labels, _floor(NAME, text)), named=False)
    pairs = [part.partition("=") for part in text.split(",")]
    values = {name.strip(): value for name, _, value in pairs}
    if not all(separator for _, separator, _ in pairs) or len(values) < len(pairs):
        raise ValueError(f"{NAME} must be a number, or name each label once as label=number,..., got {text!r}")
    for name in values:
        if name not in labels:
            raise ValueError(
                f"{NAME} must name labels of {', '.join(labels)}, got {name!r}{did_you_mean(name, labels)}"
            )
    return MinimumAuroc({name: _floor(f"{NAME}'s {name}", value) for name, value in values.items()}, named=True)


def _floor(name: str, text: str) -> float:
    floor = float(read_scalar(name, text, float))
    if not 0 <= floor < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {text}")
    return floor


@dataclasses.dataclass(frozen=True)
class OperatingPoint(Settings):
    """Youden's point, or the most specific one that keeps a sensitivity."""

    sensitivity: float = setting(
        0.0, "Least sensitivity on validation; 0 is where sensitivity + specificity is highest.", low=0.0, high=1.0
    )
