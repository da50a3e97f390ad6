"""Whether a namespace's resource quotas and limit ranges let the pods in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_request import PodRequest, parse_quantity

COMPUTE = ("cpu", "memory")


class QuotaIssue(NamedTuple):
    """What would keep a pod out of the namespace, and what would change that."""

    what: str
    remedy: str


def find_quota_issues(cluster: KubernetesClient, demands: Sequence[PodRequest]) -> Iterator[QuotaIssue]:
    """What quotas and limit ranges forbid of the demands.

    Raises:
        ClusterError: they cannot be read.
    """
    place = cluster.namespace
    quotas = cluster.listed("resource quotas", cluster.core.list_namespaced_resource_quota, place)
    ranges = cluster.listed("limit ranges", cluster.core.list_namespaced_limit_range, place)
    for quota in quotas:
        yield from _exceeded(quota, demands)
        yield from _undeclared(quota, ranges)
    for each in ranges:
        yield from _above(each, demands)


def _exceeded(quota: Any, demands: Sequence[PodRequest]) -> Iterator[QuotaIssue]:
    """Requests equal limits in our pods, so both count alike."""
    name, used = quota.metadata.name, quota.status.used or {}
    for entry, hard in (quota.status.hard or {}).items():
        asked, task = _largest(entry.removeprefix("requests.").removeprefix("limits."), demands)
        if asked > parse_quantity(hard):
            yield QuotaIssue(
                f"{task} asks for {_shown(asked)} of {entry}, and the quota {name!r} allows {hard} in all",
                f"raise {entry} in the resource quota {name!r}",
            )
        elif asked > parse_quantity(hard) - parse_quantity(taken := used.get(entry, "0")):
            yield QuotaIssue(
                f"{task} asks for {_shown(asked)} of {entry}, and {taken} of {hard} in the quota {name!r} are used",
                f"wait until other pods have ended, or raise {entry} in the resource quota {name!r}",
            )


def _undeclared(quota: Any, ranges: Sequence[Any]) -> Iterator[QuotaIssue]:
    """Where a quota counts CPU or memory, every container must declare it, and those that Argo adds do not."""
    limits = [limit for each in ranges for limit in each.spec.limits]
    defaults = {f"limits.{name}" for limit in limits for name in limit.default or ()}
    defaults |= {
        f"requests.{name}" for limit in limits for name in (*(limit.default or ()), *(limit.default_request or ()))
    }
    counted = {entry if "." in entry else f"requests.{entry}" for entry in quota.status.hard or {}}
    missing = " and ".join(sorted(each for each in counted - defaults if each.rpartition(".")[2] in COMPUTE))
    if missing:
        yield QuotaIssue(
            f"the quota {quota.metadata.name!r} counts {missing}, which KFP's own containers do not declare",
            f"give the namespace a LimitRange with defaults for {missing}",
        )


def _above(limit_range: Any, demands: Sequence[PodRequest]) -> Iterator[QuotaIssue]:
    for limit in limit_range.spec.limits:
        for entry, most in (limit.max or {}).items():
            asked, task = _largest(entry, demands)
            if limit.type in ("Container", "Pod") and asked > parse_quantity(most):
                name = limit_range.metadata.name
                yield QuotaIssue(
                    f"{task} asks for {_shown(asked)} of {entry}, and the limit range {name!r} allows {most} a pod",
                    f"raise max {entry} in the limit range {name!r}",
                )


def _largest(resource: str, demands: Sequence[PodRequest]) -> tuple[Decimal, str]:
    """The most that a task asks of a resource, and the task."""
    found = [(parse_quantity(demand.resources.get(resource, "0")), demand.task) for demand in demands]
    return max(found, key=lambda each: each[0])


def _shown(number: Decimal) -> str:
    """`8`, and `32Gi` for a number of bytes."""
    gibibytes = number / 2**30
    return f"{gibibytes.normalize():f}Gi" if number >= 2**20 else f"{number.normalize():f}"
