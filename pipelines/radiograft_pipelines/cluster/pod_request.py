"""What a task's pod requests of a cluster."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, NamedTuple

QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?", re.ASCII)  # without a sign


class PodRequest(NamedTuple):
    """What a task's pod asks for; quantities as Kubernetes writes them, objects as Kubernetes has them in a pod.

    Attributes:
        config_maps: those that the pod does not start without; `secrets` likewise.
    """

    task: str
    resources: dict[str, str]
    tolerations: list[dict[str, Any]]
    selector: dict[str, str]
    config_maps: list[str]
    secrets: list[str]


def parse_quantity(quantity: str) -> Decimal:
    """A Kubernetes quantity as a number.

    Raises:
        ValueError: it is none.
    """
    from kubernetes import utils

    return Decimal(utils.parse_quantity(quantity))


def is_positive_quantity(quantity: str) -> bool:
    """Whether a pod may ask for it: a Kubernetes quantity above 0."""
    return QUANTITY.fullmatch(quantity) is not None and parse_quantity(quantity) > 0
