"""Tells before a run what would leave it pending or failing, each finding with its remedy."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from radiograft import storage
from radiograft.stages.container_image import is_pinned
from radiograft.storage import conditional_write
from radiograft_pipelines.cluster import pod_request
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_request import PodRequest
from radiograft_pipelines.cluster.preflight import nodes, quotas

MIN_KFP_VERSION = (2, 15, 0)
SERVER = "ml-pipeline"  # KFP's deployment of its API server

OURS = "with this machine's credentials; pods use their service account's"


class CheckResult(NamedTuple):
    """What was looked at and how it is: `good`, `bad` (a run would not go through) or `warning`; with its remedy."""

    level: Literal["good", "bad", "warning"]
    what: str
    remedy: str = ""


def run_checks(cluster: KubernetesClient, demands: Sequence[PodRequest], service_account: str) -> Iterator[CheckResult]:
    """What the cluster's nodes, quotas and objects lack of what the tasks' pods demand."""
    wrong = list(_wrong_quantities(demands))
    yield from wrong
    if wrong:
        return
    for check in (_nodes, _quotas, _named_objects):
        yield from _unless_unreadable(lambda check=check: list(check(cluster, demands)))  # type: ignore[misc]
    yield from _unless_unreadable(lambda: [_service_account(cluster, service_account)])


def kfp_version(server: KfpClient, cluster: KubernetesClient | None, kfp_namespace: str) -> CheckResult:
    """Whether KFP is new enough; its release is the server's word, or the tag of its image."""
    release = server.release or (_image_tag(cluster, kfp_namespace) if cluster else "")
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", release)
    if not found:
        return CheckResult(
            "warning", f"{server.host} is KFP; its release is not told", "make sure that it is 2.15 or newer"
        )
    if tuple(map(int, found.groups())) < MIN_KFP_VERSION:
        oldest = ".".join(map(str, MIN_KFP_VERSION))
        return CheckResult("bad", f"KFP must be {oldest} or newer, got {found[0]}", "upgrade Kubeflow Pipelines")
    return CheckResult("good", f"KFP {found[0]} answers at {server.host}")


def check_image(reference: str) -> CheckResult:
    """Whether the image is named by digest: under a tag other code may run, or a cached result of other code count."""
    if is_pinned(reference):
        return CheckResult("good", f"the image is named by digest: {reference}")
    return CheckResult(
        "warning",
        f"the image {reference} is named by a tag, behind which another may come to stand",
        "give it by digest: --image or RADIOGRAFT_TRAINER_IMAGE=...@sha256:...",
    )


def _unless_unreadable(check: Callable[[], list[CheckResult]]) -> list[CheckResult]:
    try:
        return check()
    except ClusterError as error:
        return [CheckResult("warning", f"not checked: {error}")]


def _wrong_quantities(demands: Sequence[PodRequest]) -> Iterator[CheckResult]:
    for demand in demands:
        for name, quantity in demand.resources.items():
            if not pod_request.is_positive_quantity(quantity):
                yield CheckResult("bad", f"{demand.task} asks for {quantity!r} of {name}", "write 500m, 8 or 16Gi")


def _nodes(cluster: KubernetesClient, demands: Sequence[PodRequest]) -> Iterator[CheckResult]:
    known = nodes.list_nodes(cluster)
    tasks: dict[nodes.SchedulingIssue, list[str]] = {}
    for demand in demands:
        if obstacle := nodes.find_scheduling_issue(demand, known):
            tasks.setdefault(obstacle, []).append(demand.task)
    for obstacle, held in tasks.items():
        yield CheckResult("bad", f"{', '.join(held)}: {obstacle.what}", obstacle.remedy)
    if not tasks:
        yield CheckResult("good", f"every task's pod fits on one of {len(known)} nodes")


def _quotas(cluster: KubernetesClient, demands: Sequence[PodRequest]) -> Iterator[CheckResult]:
    problems = list(quotas.find_quota_issues(cluster, demands))
    yield from (CheckResult("bad", problem.what, problem.remedy) for problem in problems)
    if not problems:
        yield CheckResult("good", f"the quotas of namespace {cluster.namespace} leave room for every task")


def _named_objects(cluster: KubernetesClient, demands: Sequence[PodRequest]) -> Iterator[CheckResult]:
    """Config maps and secrets that pods cannot start without."""
    core = cluster.core
    wanted = [("config map", core.read_namespaced_config_map, {name for each in demands for name in each.config_maps})]
    wanted += [("secret", core.read_namespaced_secret, {name for each in demands for name in each.secrets})]
    for kind, method, names in wanted:
        for name in sorted(names):
            yield _existing(
                cluster, kind, method, name, f"create it: kubectl --namespace {cluster.namespace} apply -k ..."
            )


def _service_account(cluster: KubernetesClient, name: str) -> CheckResult:
    return _existing(
        cluster,
        "service account",
        cluster.core.read_namespaced_service_account,
        name,
        "create it, or give another with --service-account",
    )


def _existing(
    cluster: KubernetesClient, kind: str, method: Callable[..., object], name: str, remedy: str
) -> CheckResult:
    try:
        cluster.call(f"{kind} {name}", method, name, cluster.namespace)
    except LookupError:
        return CheckResult("bad", f"namespace {cluster.namespace} has no {kind} {name!r}", remedy)
    return CheckResult("good", f"namespace {cluster.namespace} has the {kind} {name!r}")


def _image_tag(cluster: KubernetesClient, kfp_namespace: str) -> str:
    try:
        found = cluster.call("KFP's deployment", cluster.apps.read_namespaced_deployment, SERVER, kfp_namespace)
    except (ClusterError, LookupError):
        return ""
    return str(found.spec.template.spec.containers[0].image).partition("@")[0].rpartition(":")[2]


def check_registry(place: str) -> CheckResult:
    """Writes a small file below the registry and writes it again against a state that it no longer has."""
    uri = storage.join(place, "_doctor", uuid.uuid4().hex)
    try:
        try:
            return _races(place, uri)
        finally:
            storage.delete(uri)
    except Exception as error:  # whatever the store's client raises is the finding
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        return CheckResult(
            "bad", f"the registry {place} is not writable, {OURS}: {text}", "grant read, write and delete there"
        )


def _races(place: str, uri: str) -> CheckResult:
    conditional_write.swap_content(uri, b"first", None)
    token = conditional_write.read_versioned(uri).token
    conditional_write.swap_content(uri, b"second", token)
    for stale in (None, token):
        try:
            conditional_write.swap_content(uri, b"third", stale)
        except FileExistsError:
            continue
        return CheckResult(
            "bad",
            f"the registry {place} let a write through that was not up to date: racing runs could share a version",
            "use a store with conditional writes: gs://, or S3 with If-Match and If-None-Match",
        )
    return CheckResult("good", f"the registry {place} is writable and compares before it swaps, {OURS}")
