"""Whether a pod finds a node: resources, readiness, selectors and taints, as Kubernetes's scheduler looks at them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_request import PodRequest, parse_quantity

BLOCKING_TAINT_EFFECTS = ("NoSchedule", "NoExecute")


class Node(NamedTuple):
    """What the scheduler goes by: `open` where the node is ready and not cordoned; allocatable quantities by name."""

    name: str
    open: bool
    labels: dict[str, str]
    taints: list[Any]
    allocatable: dict[str, Decimal]


class SchedulingIssue(NamedTuple):
    """Why no node takes a pod, and what would change that."""

    what: str
    remedy: str


def list_nodes(cluster: KubernetesClient) -> list[Node]:
    """All nodes.

    Raises:
        ClusterError: they cannot be read.
    """
    return [_node(each) for each in cluster.listed("nodes", cluster.core.list_node)]


def find_scheduling_issue(demand: PodRequest, nodes: Sequence[Node]) -> SchedulingIssue | None:
    """What keeps every node from taking the pod; None where one takes it.

    The first thing is told that no node meets together with what was looked at before: closed nodes, each resource
    (GPUs first), selector, taints.
    """
    left = [node for node in nodes if node.open]
    if not left:
        return SchedulingIssue(
            f"none of {len(nodes)} nodes is ready for pods", "add a node, or uncordon one: kubectl get nodes"
        )
    for name, quantity in sorted(demand.resources.items(), key=lambda item: "/" not in item[0]):
        fitting = [node for node in left if node.allocatable.get(name, Decimal(0)) >= parse_quantity(quantity)]
        if not fitting:
            return _too_small(name, quantity, left)
        left = fitting
    return _placed(demand, left)


def _placed(demand: PodRequest, nodes: Sequence[Node]) -> SchedulingIssue | None:
    """As `obstacle`, for nodes that are large enough."""
    selected = [node for node in nodes if demand.selector.items() <= node.labels.items()]
    if not selected:
        wanted = ", ".join(f"{name}={value}" for name, value in demand.selector.items())
        return SchedulingIssue(
            f"none of the nodes that are large enough ({_names(nodes)}) has the labels {wanted}",
            "label one (kubectl label node), or submit with another node selector",
        )
    repelled = {node.name: [taint for taint in node.taints if not _tolerated(taint, demand)] for node in selected}
    if not all(repelled.values()):
        return None
    taints = sorted({f"{each.key}={each.value or ''}:{each.effect}" for found in repelled.values() for each in found})
    return SchedulingIssue(
        f"the nodes that would do ({_names(selected)}) have taints that the pod does not tolerate: {', '.join(taints)}",
        "submit with a toleration, or remove the taint: kubectl taint nodes NODE KEY-",
    )


def _too_small(name: str, quantity: str, nodes: Sequence[Node]) -> SchedulingIssue:
    there = ", ".join(f"{node.name} {node.allocatable.get(name, Decimal(0)).normalize():f}" for node in nodes[:5])
    if "/" in name:
        return SchedulingIssue(
            f"no node has {quantity} allocatable {name}; there are: {there}",
            f"add a node with {quantity} GPUs (a pool that grows from zero shows none until a pod asks), and where "
            "nodes have GPUs but tell of none, install NVIDIA's device plugin",
        )
    return SchedulingIssue(
        f"no node that would do otherwise has {quantity} of {name} allocatable; there are: {there}",
        "add a larger node, or compile with smaller requests (pipelines/radiograft_pipelines/dags/tasks.py)",
    )


def _tolerated(taint: Any, demand: PodRequest) -> bool:
    return any(
        (not each.get("key") or each["key"] == taint.key)
        and (not each.get("effect") or each["effect"] == taint.effect)
        and (each.get("operator") == "Exists" or (each.get("value") or "") == (taint.value or ""))
        for each in demand.tolerations
    )


def _node(found: Any) -> Node:
    ready = any(each.type == "Ready" and each.status == "True" for each in found.status.conditions or ())
    return Node(
        name=found.metadata.name,
        open=ready and not found.spec.unschedulable,
        labels=found.metadata.labels or {},
        taints=[each for each in found.spec.taints or () if each.effect in BLOCKING_TAINT_EFFECTS],
        allocatable={name: parse_quantity(each) for name, each in (found.status.allocatable or {}).items()},
    )


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(node.name for node in nodes[:5])
