"""The resources and objects that a task's pod requests, and Kubernetes quantities."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, NamedTuple

QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?", re.ASCII)  # unsigned


class PodRequest(NamedTuple):
    """What the pod of a task requests from the cluster, as in a Kubernetes manifest.

    Attributes:
        resources: quantities by resource name.
        selector: node labels that are required.
        config_maps: required config maps; optional ones are left out. `secrets` likewise.
    """

    task: str
    resources: dict[str, str]
    tolerations: list[dict[str, Any]]
    selector: dict[str, str]
    config_maps: list[str]
    secrets: list[str]


def parse_quantity(quantity: str) -> Decimal:
    """Converts a Kubernetes quantity to a number.

    Example:
        >>> parse_quantity("16Gi")
        Decimal('17179869184')

    Raises:
        ValueError: the quantity is malformed.
    """
    from kubernetes import utils

    return Decimal(utils.parse_quantity(quantity))


def is_positive_quantity(quantity: str) -> bool:
    """Returns whether the text is a Kubernetes quantity above 0, which a pod may request."""
    return QUANTITY.fullmatch(quantity) is not None and parse_quantity(quantity) > 0
