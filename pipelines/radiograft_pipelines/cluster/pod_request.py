"""What a task's pod requests of a cluster."""

from __future__ import annotations

from typing import Any, NamedTuple


class Demand(NamedTuple):
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
