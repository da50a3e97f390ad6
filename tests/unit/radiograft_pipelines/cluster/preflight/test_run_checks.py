"""`run_checks` reports problems with nodes, quotas and named objects, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from radiograft_pipelines.cluster import kubernetes_client
from radiograft_pipelines.cluster.pod_request import PodRequest
from radiograft_pipelines.cluster.preflight import checks
from tests.helpers.clusters import RUNNER, TAINT, limit_range, named, node, quota
from tests.helpers.kubernetes_double import KubernetesDouble

Cluster = Callable[..., KubernetesDouble]
NEEDS = {"nvidia.com/gpu": "2", "cpu": "8", "memory": "32Gi"}
TRAINER = PodRequest("fine-tune", NEEDS, [], {}, [], [])
DEFAULTS = limit_range("defaults", default={"cpu": "1", "memory": "1Gi"})
REQUESTS = limit_range("requests", defaultRequest={"cpu": "50m", "memory": "64Mi"})


def _failures(cluster: Cluster, *manifests: str, pod: PodRequest = TRAINER) -> list[tuple[str, str]]:
    """Returns message and remedy of the checks that fail."""
    cluster(*manifests)
    results = checks.run_checks(kubernetes_client.connect("kubeflow"), [pod], "pipeline-runner")
    return [(result.message, result.remedy) for result in results if result.level == "bad"]


@pytest.mark.parametrize(
    ("nodes", "what", "remedy"),
    [
        ((), "fine-tune: none of 0 nodes is ready for pods", "add a node, or uncordon one"),
        ((node("a", "2", ready=False), node("b", "2", cordoned=True)),
         "fine-tune: none of 2 nodes is ready for pods", "add a node, or uncordon one"),
        ((node("a", "1"), node("b", "1"), node("c")),
         "fine-tune: no node has 2 allocatable nvidia.com/gpu; allocatable: a 1, b 1, c 0", "add a node with 2 GPUs"),
        ((node("a", "2", memory="31Gi"), node("b", memory="128Gi")),
         "fine-tune: no otherwise suitable node has 32Gi of memory allocatable; allocatable: a 33285996544",
         "add a larger node"),
        ((node("a", "4", cpu="7900m"),),
         "fine-tune: no otherwise suitable node has 8 of cpu allocatable; allocatable: a 7.9", "add a larger node"),
        ((node("a", "2", taints=[TAINT]),),
         ("fine-tune: the suitable nodes (a) have taints that the pod does not tolerate: "
          "nvidia.com/gpu=present:NoSchedule"), "submit with a toleration, or remove the taint"),
    ],
)  # fmt: skip
def test_run_checks_no_suitable_node_returns_reason(
    cluster: Cluster, nodes: tuple[str, ...], what: str, remedy: str
) -> None:
    ((message, advice),) = _failures(cluster, RUNNER, *nodes)
    assert message == what
    assert advice.startswith(remedy)


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "nvidia.com/gpu", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"},
        {"key": "nvidia.com/gpu", "value": "present"},
        {"operator": "Exists"},
    ],
)
def test_run_checks_matching_toleration_passes(cluster: Cluster, toleration: dict[str, str]) -> None:
    tolerant = TRAINER._replace(tolerations=[toleration])
    assert _failures(cluster, RUNNER, node("a", "2", taints=[TAINT]), pod=tolerant) == []


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "other", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "absent"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"},
        {"key": "nvidia.com/gpu"},
    ],
)
def test_run_checks_other_toleration_fails(cluster: Cluster, toleration: dict[str, str]) -> None:
    tolerant = TRAINER._replace(tolerations=[toleration])
    assert len(_failures(cluster, RUNNER, node("a", "2", taints=[TAINT]), pod=tolerant)) == 1


def test_run_checks_prefer_no_schedule_taint_passes(cluster: Cluster) -> None:
    assert _failures(cluster, RUNNER, node("a", "2", taints=[{"key": "k", "effect": "PreferNoSchedule"}])) == []


def test_run_checks_selector_without_large_node_fails(cluster: Cluster) -> None:
    choosy = TRAINER._replace(selector={"gpu": "a100"})
    nodes = node("a", "2", labels={"gpu": "l4"}), node("b", "1", labels={"gpu": "a100"})
    ((what, remedy),) = _failures(cluster, RUNNER, *nodes, pod=choosy)
    assert what == "fine-tune: none of the nodes that are large enough (a) has the labels gpu=a100"
    assert remedy.startswith("label one")
    assert _failures(cluster, RUNNER, node("c", "2", labels={"gpu": "a100"}), pod=choosy) == []


@pytest.mark.parametrize(
    ("manifest", "what", "remedy"),
    [
        (quota("gpus", {"requests.nvidia.com/gpu": "1"}),
         "fine-tune requests 2 of requests.nvidia.com/gpu, but the quota 'gpus' allows 1",
         "raise requests.nvidia.com/gpu in the resource quota 'gpus'"),
        (quota("gpus", {"requests.nvidia.com/gpu": "4"}, {"requests.nvidia.com/gpu": "3"}),
         "fine-tune requests 2 of requests.nvidia.com/gpu, but 3 of 4 in the quota 'gpus' are in use",
         "wait until other pods have ended, or raise requests.nvidia.com/gpu in the resource quota 'gpus'"),
        (quota("memory", {"limits.memory": "16Gi"}),
         "fine-tune requests 32Gi of limits.memory, but the quota 'memory' allows 16Gi",
         "raise limits.memory in the resource quota 'memory'"),
        (limit_range("most", max={"memory": "16Gi"}, default={"cpu": "1", "memory": "1Gi"}),
         "fine-tune requests 32Gi of memory, but the limit range 'most' allows 16Gi per pod",
         "raise max memory in the limit range 'most'"),
    ],
)  # fmt: skip
def test_run_checks_quota_exceeded_fails(cluster: Cluster, manifest: str, what: str, remedy: str) -> None:
    assert _failures(cluster, RUNNER, node("a", "2"), DEFAULTS, manifest) == [(what, remedy)]


@pytest.mark.parametrize(
    ("hard", "ranges", "missing"),
    [
        ({"requests.cpu": "64", "limits.memory": "256Gi"}, (), "limits.memory and requests.cpu"),
        ({"cpu": "64"}, (), "requests.cpu"),
        ({"requests.cpu": "64", "limits.cpu": "64"}, (REQUESTS,), "limits.cpu"),
        ({"requests.cpu": "64", "limits.memory": "256Gi"}, (DEFAULTS,), ""),
        ({"requests.memory": "256Gi"}, (REQUESTS,), ""),
        ({"requests.nvidia.com/gpu": "8", "pods": "50"}, (), ""),
    ],
)
def test_run_checks_compute_quota_requires_defaults(
    cluster: Cluster, hard: dict[str, str], ranges: tuple[str, ...], missing: str
) -> None:
    message = f"the quota 'compute' covers {missing}, which KFP's own containers do not declare"
    failures = _failures(cluster, RUNNER, node("a", "2"), quota("compute", hard), *ranges)
    assert [what for what, _ in failures] == ([message] if missing else [])


def test_run_checks_missing_objects_fail(cluster: Cluster) -> None:
    demanding = TRAINER._replace(config_maps=["radiograft"], secrets=["bucket-key"])
    manifests = named("ConfigMap", "radiograft", namespace="elsewhere"), node("a", "2")
    assert [what for what, _ in _failures(cluster, *manifests, pod=demanding)] == [
        "namespace kubeflow has no config map 'radiograft'",
        "namespace kubeflow has no secret 'bucket-key'",
        "namespace kubeflow has no service account 'pipeline-runner'",
    ]
    existing = named("ConfigMap", "radiograft"), named("Secret", "bucket-key"), RUNNER, node("a", "2")
    assert _failures(cluster, *existing, pod=demanding) == []


@pytest.mark.parametrize("quantity", ["32GB", "-1Gi", "0", "inf", "", "5 Gi"])
def test_run_checks_invalid_quantity_fails_alone(cluster: Cluster, quantity: str) -> None:
    """Fails if `is_positive_quantity` accepts what Kubernetes rejects, or a quantity that fits on every node."""
    wrong = TRAINER._replace(resources={"memory": quantity, "cpu": "8"})
    assert _failures(cluster, pod=wrong) == [
        (f"fine-tune requests {quantity!r} of memory", "use a quantity such as 500m, 8 or 16Gi")
    ]


@pytest.mark.parametrize("quantity", ["500m", "8", "1.5", ".5", "16Gi", "64G", "1e9", "2E-1"])
def test_run_checks_valid_quantity_passes(cluster: Cluster, quantity: str) -> None:
    """Fails if `QUANTITY` is stricter than Kubernetes."""
    assert _failures(cluster, RUNNER, node("a", "2"), pod=TRAINER._replace(resources={"memory": quantity})) == []
