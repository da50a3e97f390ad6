"""Checks whether a namespace's resource quotas and limit ranges admit the pods of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_request import PodRequest, parse_quantity

COMPUTE = ("cpu", "memory")


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
                f"{task} requests {_format_quantity(request)} of {entry}, but the quota {name!r} allows {hard}",
                f"raise {entry} in the resource quota {name!r}",
            )
        elif request > parse_quantity(hard) - parse_quantity(in_use):
            yield QuotaIssue(
                f"{task} requests {_format_quantity(request)} of {entry}, but {in_use} of {hard} in the quota {name!r} "
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
                    f"{task} requests {_format_quantity(request)} of {entry}, but the limit range {name!r} allows "
                    f"{maximum} per pod",
                    f"raise max {entry} in the limit range {name!r}",
                )


def _largest_request(resource: str, pods: Sequence[PodRequest]) -> tuple[Decimal, str]:
    """Returns the largest request for a resource, and its task."""
    requests = [(parse_quantity(pod.resources.get(resource, "0")), pod.task) for pod in pods]
    return max(requests, key=lambda request: request[0])


def _format_quantity(number: Decimal) -> str:
    """Formats 8 as `8`, and a number of bytes as `32Gi`."""
    gibibytes = number / 2**30
    return f"{gibibytes.normalize():f}Gi" if number >= 2**20 else f"{number.normalize():f}"
