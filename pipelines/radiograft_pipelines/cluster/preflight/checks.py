"""Preflight checks that report, before a run, what would leave it pending or make it fail, each with its remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from radiograft.stages.container_image import is_pinned
from radiograft_pipelines.cluster import pod_request
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_request import PodRequest
from radiograft_pipelines.cluster.preflight import free_resources, nodes

MIN_KFP_VERSION = (2, 15, 0)
SERVER = "ml-pipeline"  # KFP's deployment of its API server


class CheckResult(NamedTuple):
    """The result of one check.

    Attributes:
        level: `good`, `warning`, or `bad` if a run would fail.
        message: what was checked, and the result.
        remedy: how to fix it; empty if nothing is wrong or no remedy is known.
    """

    level: Literal["good", "bad", "warning"]
    message: str
    remedy: str = ""


def run_checks(cluster: KubernetesClient, pods: Sequence[PodRequest], service_account: str) -> Iterator[CheckResult]:
    """Checks the cluster's nodes, quotas and objects against the pods of a run.

    Invalid quantities are reported first, and end the checks: they cannot be compared.
    """
    invalid = list(_check_quantities(pods))
    yield from invalid
    if invalid:
        return
    for check in (_check_nodes, _check_quotas, _check_named_objects):
        yield from _warn_if_unreadable(lambda check=check: list(check(cluster, pods)))  # type: ignore[misc]
    yield from _warn_if_unreadable(lambda: [_check_service_account(cluster, service_account)])


def kfp_version(server: KfpClient, cluster: KubernetesClient | None, kfp_namespace: str) -> CheckResult:
    """Checks that KFP is recent enough, by the release that the server reports or by the tag of its image."""
    release = server.release or (_image_tag(cluster, kfp_namespace) if cluster else "")
    oldest = ".".join(map(str, MIN_KFP_VERSION))
    version = re.search(r"(\d+)\.(\d+)\.(\d+)", release)
    if not version:
        return CheckResult(
            "warning", f"{server.host} is KFP, but its release is unknown", f"make sure that it is {oldest} or newer"
        )
    if tuple(map(int, version.groups())) < MIN_KFP_VERSION:
        return CheckResult("bad", f"KFP must be {oldest} or newer, got {version[0]}", "upgrade Kubeflow Pipelines")
    return CheckResult("good", f"KFP {version[0]} is available at {server.host}")


def check_image(reference: str) -> CheckResult:
    """Checks that the image is pinned by digest.

    A tag may later point to other code, and KFP would reuse cached results of the old code.
    """
    if is_pinned(reference):
        return CheckResult("good", f"the image is pinned by digest: {reference}")
    return CheckResult(
        "warning",
        f"the image {reference} is not pinned by digest: its tag may later point to another image",
        "pin it: --image or RADIOGRAFT_TRAINER_IMAGE=...@sha256:...",
    )


def _warn_if_unreadable(check: Callable[[], list[CheckResult]]) -> list[CheckResult]:
    try:
        return check()
    except ClusterError as error:
        return [CheckResult("warning", f"not checked: {error}")]


def _check_quantities(pods: Sequence[PodRequest]) -> Iterator[CheckResult]:
    for pod in pods:
        for name, quantity in pod.resources.items():
            if not pod_request.is_positive_quantity(quantity):
                yield CheckResult(
                    "bad", f"{pod.task} requests {quantity!r} of {name}", "use a quantity such as 500m, 8 or 16Gi"
                )


def _check_nodes(cluster: KubernetesClient, pods: Sequence[PodRequest]) -> Iterator[CheckResult]:
    """Checks the pods against what the nodes have, and those that fit also against what is free now."""
    all_nodes = nodes.list_nodes(cluster)
    issues = {pod.task: issue for pod in pods if (issue := nodes.find_scheduling_issue(pod, all_nodes))}
    yield from _group_by_issue("bad", issues)
    if not issues:
        yield CheckResult("good", f"every task's pod fits on one of {len(all_nodes)} nodes")
    yield from _check_free(cluster, [pod for pod in pods if pod.task not in issues], all_nodes)


def _check_free(
    cluster: KubernetesClient, pods: Sequence[PodRequest], all_nodes: Sequence[nodes.Node]
) -> Iterator[CheckResult]:
    try:
        bound = free_resources.list_bound_pods(cluster)
    except ClusterError as error:
        permission = "doctor needs the permission to list pods in all namespaces for it"
        yield CheckResult("warning", f"free resources were not checked: {error}", permission)
        return
    issues = {pod.task: issue for pod in pods if (issue := free_resources.find_shortage(pod, all_nodes, bound))}
    yield from _group_by_issue("warning", issues)
    if pods and not issues:
        yield CheckResult("good", "the nodes have enough free resources now for each of these pods")


def _group_by_issue(
    level: Literal["bad", "warning"], issues: Mapping[str, nodes.SchedulingIssue]
) -> Iterator[CheckResult]:
    """Yields one result per issue, with all its tasks."""
    tasks_by_issue: dict[nodes.SchedulingIssue, list[str]] = {}
    for task, issue in issues.items():
        tasks_by_issue.setdefault(issue, []).append(task)
    for issue, tasks in tasks_by_issue.items():
        yield CheckResult(level, f"{', '.join(tasks)}: {issue.message}", issue.remedy)


def _check_quotas(cluster: KubernetesClient, pods: Sequence[PodRequest]) -> Iterator[CheckResult]:
    issues = list(nodes.find_quota_issues(cluster, pods))
    yield from (CheckResult("bad", issue.message, issue.remedy) for issue in issues)
    if not issues:
        yield CheckResult("good", f"the quotas of namespace {cluster.namespace} admit every task's pod")


def _check_named_objects(cluster: KubernetesClient, pods: Sequence[PodRequest]) -> Iterator[CheckResult]:
    """Checks the config maps and secrets that the pods require."""
    core = cluster.core
    remedy = f"create it: kubectl --namespace {cluster.namespace} apply -k ..."
    for name in sorted({name for pod in pods for name in pod.config_maps}):
        yield _check_exists(cluster, "config map", core.read_namespaced_config_map, name, remedy)
    for name in sorted({name for pod in pods for name in pod.secrets}):
        yield _check_exists(cluster, "secret", core.read_namespaced_secret, name, remedy)


def _check_service_account(cluster: KubernetesClient, name: str) -> CheckResult:
    method = cluster.core.read_namespaced_service_account
    remedy = "create it, or name another with --service-account"
    return _check_exists(cluster, "service account", method, name, remedy)


def _check_exists(
    cluster: KubernetesClient, kind: str, method: Callable[..., object], name: str, remedy: str
) -> CheckResult:
    try:
        cluster.call(f"{kind} {name}", method, name, cluster.namespace)
    except LookupError:
        return CheckResult("bad", f"namespace {cluster.namespace} has no {kind} {name!r}", remedy)
    return CheckResult("good", f"namespace {cluster.namespace} has the {kind} {name!r}")


def _image_tag(cluster: KubernetesClient, kfp_namespace: str) -> str:
    method = cluster.apps.read_namespaced_deployment
    try:
        deployment = cluster.call("KFP's deployment", method, SERVER, kfp_namespace)
    except (ClusterError, LookupError):
        return ""
    return str(deployment.spec.template.spec.containers[0].image).partition("@")[0].rpartition(":")[2]
