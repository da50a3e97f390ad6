"""Kubernetes quantities."""

from __future__ import annotations

import re
from decimal import Decimal

QUANTITY = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?", re.ASCII)  # without a sign


def amount(quantity: str) -> Decimal:
    """A Kubernetes quantity as a number.

    Raises:
        ValueError: it is none.
    """
    from kubernetes.utils import parse_quantity

    return Decimal(parse_quantity(quantity))


def can_be_asked(quantity: str) -> bool:
    """Whether a pod may ask for it: a Kubernetes quantity above 0."""
    return QUANTITY.fullmatch(quantity) is not None and amount(quantity) > 0
