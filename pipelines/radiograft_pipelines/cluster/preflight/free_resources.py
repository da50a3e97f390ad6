"""Checks whether a pod fits on a node beside the pods that are there now.

The rules are those of Kubernetes's scheduler: what a node can allocate, less what its pods request.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_request import PodRequest, parse_quantity
from radiograft_pipelines.cluster.preflight.nodes import (
    MAX_NODES_IN_MESSAGE,
    Node,
    SchedulingIssue,
    find_scheduling_issue,
    format_quantity,
    parse_quantities,
)

NOT_ENDED = "status.phase!=Succeeded,status.phase!=Failed"
MAX_PODS_IN_MESSAGE = 3


class BoundPod(NamedTuple):
    """A pod that runs or starts on a node.

    Attributes:
        name: namespace and name.
        node: name of the node.
        requests: quantities by resource name, which the node reserves for the pod.
    """

    name: str
    node: str
    requests: dict[str, Decimal]


def list_bound_pods(cluster: KubernetesClient) -> list[BoundPod]:
    """Returns the pods of all namespaces that occupy a node.

    Raises:
        ClusterError: the pods cannot be read.
    """
    pods = cluster.list_items(
        "the pods of all namespaces", cluster.core.list_pod_for_all_namespaces, field_selector=NOT_ENDED
    )
    return [
        BoundPod(f"{pod.metadata.namespace}/{pod.metadata.name}", pod.spec.node_name, _effective_requests(pod.spec))
        for pod in pods
        if pod.spec.node_name
    ]


def find_shortage(pod: PodRequest, nodes: Sequence[Node], bound: Sequence[BoundPod]) -> SchedulingIssue | None:
    """Returns what is short on the nodes that could run the pod; None if one has enough free, or if no node could."""
    shortages: dict[str, dict[str, str]] = {}
    holders: list[BoundPod] = []
    for node in nodes:
        if find_scheduling_issue(pod, [node]):
            continue
        pods = [each for each in bound if each.node == node.name]
        short = _format_short(pod, node, pods)
        if not short:
            return None
        shortages[node.name] = short
        holders += pods
    return _explain(shortages, holders) if shortages else None


def _format_short(pod: PodRequest, node: Node, bound: Sequence[BoundPod]) -> dict[str, str]:
    """Formats how much is free of each resource of which the pod requests more, GPUs first."""
    short = {}
    for name, quantity in sorted(pod.resources.items(), key=lambda item: "/" not in item[0]):
        used = sum((each.requests.get(name, Decimal(0)) for each in bound), Decimal(0))
        free = max(node.allocatable[name] - used, Decimal(0))
        if free < parse_quantity(quantity):
            short[name] = f"{format_quantity(free)} of {format_quantity(node.allocatable[name])} {name}"
    return short


def _explain(shortages: Mapping[str, Mapping[str, str]], holders: Sequence[BoundPod]) -> SchedulingIssue:
    """Names the free resources of some nodes, and the pods that request most of the first one."""
    named = [f"{node} has {' and '.join(short.values())}" for node, short in shortages.items()]
    scarce = next(name for short in shortages.values() for name in short)
    requests = sorted(((pod.requests.get(scarce, Decimal(0)), pod.name) for pod in holders), reverse=True)
    largest = ", ".join(f"{name} ({format_quantity(quantity)})" for quantity, name in requests[:MAX_PODS_IN_MESSAGE])
    return SchedulingIssue(
        f"no suitable node has enough free now: {'; '.join(named[:MAX_NODES_IN_MESSAGE])}",
        f"wait until other pods have ended, or scale some down; the largest requests of {scarce}: {largest}",
    )


def _effective_requests(spec: Any) -> dict[str, Decimal]:
    """Returns what the scheduler reserves for a pod.

    Init containers run one after the other before the containers, except those that keep running beside them
    (`restartPolicy: Always`).
    """
    running, peak = parse_quantities(spec.overhead), dict[str, Decimal]()
    for container in spec.init_containers or ():
        started = _combine(operator.add, running, _requests(container))
        peak = _combine(max, peak, started)
        if container.restart_policy == "Always":
            running = started
    for container in spec.containers:
        running = _combine(operator.add, running, _requests(container))
    return _combine(max, running, peak)


def _requests(container: Any) -> dict[str, Decimal]:
    return parse_quantities(container.resources.requests if container.resources else None)


def _combine(
    function: Callable[[Decimal, Decimal], Decimal], one: Mapping[str, Decimal], other: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    zero = Decimal(0)
    return {name: function(one.get(name, zero), other.get(name, zero)) for name in {*one, *other}}
