"""Checks whether a namespace admits a pod (quotas, limit ranges) and whether it fits on a node.

The rules are those of Kubernetes's scheduler: resources, selectors and taints.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from typing import Any, NamedTuple

from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_request import PodRequest, parse_quantity

BLOCKING_TAINT_EFFECTS = ("NoSchedule", "NoExecute")
MAX_NODES_IN_MESSAGE = 5

COMPUTE = ("cpu", "memory")


class Node(NamedTuple):
    """The properties of a node that the scheduler considers.

    Attributes:
        schedulable: whether the node is ready and not cordoned.
        taints: those that keep pods away.
        allocatable: quantities by resource name.
    """

    name: str
    schedulable: bool
    labels: dict[str, str]
    taints: list[Any]
    allocatable: dict[str, Decimal]


class SchedulingIssue(NamedTuple):
    """Why no node can run a pod, and how to fix it."""

    message: str
    remedy: str


def list_nodes(cluster: KubernetesClient) -> list[Node]:
    """Returns all nodes.

    Raises:
        ClusterError: the nodes cannot be read.
    """
    return [_parse_node(node) for node in cluster.list_items("nodes", cluster.core.list_node)]


def find_scheduling_issue(pod: PodRequest, nodes: Sequence[Node]) -> SchedulingIssue | None:
    """Returns why no node can run the pod; None if a node can.

    The checks are cumulative: readiness, each resource (GPUs first), node selector, taints. The first check that leaves
    no node is reported.
    """
    candidates = [node for node in nodes if node.schedulable]
    if not candidates:
        return SchedulingIssue(
            f"none of {len(nodes)} nodes is ready for pods", "add a node, or uncordon one: kubectl get nodes"
        )
    for name, quantity in sorted(pod.resources.items(), key=lambda item: "/" not in item[0]):
        minimum = parse_quantity(quantity)
        large_enough = [node for node in candidates if node.allocatable.get(name, Decimal(0)) >= minimum]
        if not large_enough:
            return _too_small(name, quantity, candidates)
        candidates = large_enough
    return _check_placement(pod, candidates)


def parse_quantities(quantities: Mapping[str, str] | None) -> dict[str, Decimal]:
    """Converts the quantities of resources, of a node or of a container, to numbers."""
    return {name: parse_quantity(quantity) for name, quantity in (quantities or {}).items()}


def _check_placement(pod: PodRequest, nodes: Sequence[Node]) -> SchedulingIssue | None:
    """Checks node selector and tolerations against nodes that are large enough."""
    selected = [node for node in nodes if pod.selector.items() <= node.labels.items()]
    if not selected:
        labels = ", ".join(f"{name}={value}" for name, value in pod.selector.items())
        return SchedulingIssue(
            f"none of the nodes that are large enough ({_names(nodes)}) has the labels {labels}",
            "label one (kubectl label node), or submit with another node selector",
        )
    blocking_taints = [[taint for taint in node.taints if not _is_tolerated(taint, pod)] for node in selected]
    if not all(blocking_taints):
        return None
    unique = {f"{taint.key}={taint.value or ''}:{taint.effect}" for taint in itertools.chain(*blocking_taints)}
    taints = ", ".join(sorted(unique))
    return SchedulingIssue(
        f"the suitable nodes ({_names(selected)}) have taints that the pod does not tolerate: {taints}",
        "submit with a toleration, or remove the taint: kubectl taint nodes NODE KEY-",
    )


def _too_small(name: str, quantity: str, nodes: Sequence[Node]) -> SchedulingIssue:
    allocatable = ", ".join(
        f"{node.name} {node.allocatable.get(name, Decimal(0)).normalize():f}" for node in nodes[:MAX_NODES_IN_MESSAGE]
    )
    if "/" in name:
        return SchedulingIssue(
            f"no node has {quantity} allocatable {name}; allocatable: {allocatable}",
            f"add a node with {quantity} GPUs (an autoscaled pool of size 0 shows none), or install NVIDIA's device "
            "plugin if nodes with GPUs do not report them",
        )
    return SchedulingIssue(
        f"no otherwise suitable node has {quantity} of {name} allocatable; allocatable: {allocatable}",
        "add a larger node, or compile with smaller requests (pipelines/radiograft_pipelines/dags/tasks.py)",
    )


def _is_tolerated(taint: Any, pod: PodRequest) -> bool:
    return any(
        (not toleration.get("key") or toleration["key"] == taint.key)
        and (not toleration.get("effect") or toleration["effect"] == taint.effect)
        and (toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.value or ""))
        for toleration in pod.tolerations
    )


def _parse_node(node: Any) -> Node:
    conditions = node.status.conditions or ()
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
    return Node(
        name=node.metadata.name,
        schedulable=ready and not node.spec.unschedulable,
        labels=node.metadata.labels or {},
        taints=[taint for taint in node.spec.taints or () if taint.effect in BLOCKING_TAINT_EFFECTS],
        allocatable=parse_quantities(node.status.allocatable),
    )


def _names(nodes: Sequence[Node]) -> str:
    return ", ".join(node.name for node in nodes[:MAX_NODES_IN_MESSAGE])


class QuotaIssue(NamedTuple):
    """Why a pod would be rejected from the namespace, and how to fix it."""

    message: str
    remedy: str


def find_quota_issues(cluster: KubernetesClient, pods: Sequence[PodRequest]) -> Iterator[QuotaIssue]:
    """Yields where quotas and limit ranges reject a pod.

    Raises:
        ClusterError: they cannot be read.
    """
    core, namespace = cluster.core, cluster.namespace
    quotas = cluster.list_items("resource quotas", core.list_namespaced_resource_quota, namespace)
    limit_ranges = cluster.list_items("limit ranges", core.list_namespaced_limit_range, namespace)
    for quota in quotas:
        yield from _find_exceeded(quota, pods)
        yield from _find_undeclared(quota, limit_ranges)
    for limit_range in limit_ranges:
        yield from _find_above_limit(limit_range, pods)


def _find_exceeded(quota: Any, pods: Sequence[PodRequest]) -> Iterator[QuotaIssue]:
    """Yields the quota's entries that a task exceeds. The pods' requests equal their limits, so both are compared."""
    name, used = quota.metadata.name, quota.status.used or {}
    for entry, hard in (quota.status.hard or {}).items():
        request, task = _largest_request(entry.removeprefix("requests.").removeprefix("limits."), pods)
        in_use = used.get(entry, "0")
        if request > parse_quantity(hard):
            yield QuotaIssue(
                f"{task} requests {format_quantity(request)} of {entry}, but the quota {name!r} allows {hard}",
                f"raise {entry} in the resource quota {name!r}",
            )
        elif request > parse_quantity(hard) - parse_quantity(in_use):
            yield QuotaIssue(
                f"{task} requests {format_quantity(request)} of {entry}, but {in_use} of {hard} in the quota {name!r} "
                "are in use",
                f"wait until other pods have ended, or raise {entry} in the resource quota {name!r}",
            )


def _find_undeclared(quota: Any, limit_ranges: Sequence[Any]) -> Iterator[QuotaIssue]:
    """Yields CPU and memory entries that the containers added by Argo do not declare.

    A quota rejects every container that does not declare a resource in it, unless a limit range sets a default.
    """
    limits = [limit for limit_range in limit_ranges for limit in limit_range.spec.limits]
    defaults = {f"limits.{name}" for limit in limits for name in limit.default or ()}
    defaults |= {
        f"requests.{name}" for limit in limits for name in (*(limit.default or ()), *(limit.default_request or ()))
    }
    entries = {entry if "." in entry else f"requests.{entry}" for entry in quota.status.hard or {}}
    missing = " and ".join(sorted(entry for entry in entries - defaults if entry.rpartition(".")[2] in COMPUTE))
    if missing:
        yield QuotaIssue(
            f"the quota {quota.metadata.name!r} covers {missing}, which KFP's own containers do not declare",
            f"add a LimitRange with defaults for {missing} to the namespace",
        )


def _find_above_limit(limit_range: Any, pods: Sequence[PodRequest]) -> Iterator[QuotaIssue]:
    name = limit_range.metadata.name
    for limit in limit_range.spec.limits:
        for entry, maximum in (limit.max or {}).items():
            request, task = _largest_request(entry, pods)
            if limit.type in ("Container", "Pod") and request > parse_quantity(maximum):
                yield QuotaIssue(
                    f"{task} requests {format_quantity(request)} of {entry}, but the limit range {name!r} allows "
                    f"{maximum} per pod",
                    f"raise max {entry} in the limit range {name!r}",
                )


def _largest_request(resource: str, pods: Sequence[PodRequest]) -> tuple[Decimal, str]:
    """Returns the largest request for a resource, and its task."""
    requests = [(parse_quantity(pod.resources.get(resource, "0")), pod.task) for pod in pods]
    return max(requests, key=lambda request: request[0])


def format_quantity(number: Decimal) -> str:
    """Formats 8 as `8`, and a number of bytes as `32Gi`, rounded down to two decimals."""
    if number < 2**20:
        return f"{number.normalize():f}"
    return f"{(number / 2**30).quantize(Decimal('0.01'), ROUND_DOWN).normalize():f}Gi"
