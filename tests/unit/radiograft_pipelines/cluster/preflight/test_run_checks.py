"""What `radiograft doctor` finds of nodes, quotas and named objects, each with its remedy."""

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


def _bad(cluster: Cluster, *manifests: str, demand: PodRequest = TRAINER) -> list[tuple[str, str]]:
    """What a run would fail of, each with its remedy."""
    cluster(*manifests)
    findings = checks.run_checks(kubernetes_client.connect("kubeflow"), [demand], "pipeline-runner")
    return [(each.what, each.remedy) for each in findings if each.level == "bad"]


@pytest.mark.parametrize(
    ("nodes", "what", "remedy"),
    [
        ((), "fine-tune: none of 0 nodes is ready for pods", "add a node, or uncordon one"),
        ((node("a", "2", ready=False), node("b", "2", cordoned=True)),
         "fine-tune: none of 2 nodes is ready for pods", "add a node, or uncordon one"),
        ((node("a", "1"), node("b", "1"), node("c")),
         "fine-tune: no node has 2 allocatable nvidia.com/gpu; there are: a 1, b 1, c 0", "add a node with 2 GPUs"),
        ((node("a", "2", memory="31Gi"), node("b", memory="128Gi")),
         "fine-tune: no node that would do otherwise has 32Gi of memory allocatable; there are: a 33285996544",
         "add a larger node"),
        ((node("a", "4", cpu="7900m"),),
         "fine-tune: no node that would do otherwise has 8 of cpu allocatable; there are: a 7.9", "add a larger node"),
        ((node("a", "2", taints=[TAINT]),),
         ("fine-tune: the nodes that would do (a) have taints that the pod does not tolerate: "
          "nvidia.com/gpu=present:NoSchedule"), "submit with a toleration, or remove the taint"),
    ],
)  # fmt: skip
def test_why_no_node_takes_the_pod(cluster: Cluster, nodes: tuple[str, ...], what: str, remedy: str) -> None:
    ((told, mends),) = _bad(cluster, RUNNER, *nodes)
    assert told == what
    assert mends.startswith(remedy)


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
def test_a_toleration_lets_the_pod_onto_a_tainted_node(cluster: Cluster, toleration: dict[str, str]) -> None:
    tolerant = TRAINER._replace(tolerations=[toleration])
    assert _bad(cluster, RUNNER, node("a", "2", taints=[TAINT]), demand=tolerant) == []


@pytest.mark.parametrize(
    "toleration",
    [
        {"key": "other", "operator": "Exists"},
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "absent"},
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoExecute"},
        {"key": "nvidia.com/gpu"},
    ],
)
def test_a_toleration_of_something_else_does_not(cluster: Cluster, toleration: dict[str, str]) -> None:
    tolerant = TRAINER._replace(tolerations=[toleration])
    assert len(_bad(cluster, RUNNER, node("a", "2", taints=[TAINT]), demand=tolerant)) == 1


def test_a_taint_that_only_asks_repels_nobody(cluster: Cluster) -> None:
    assert _bad(cluster, RUNNER, node("a", "2", taints=[{"key": "k", "effect": "PreferNoSchedule"}])) == []


def test_a_selector_must_meet_a_node_that_is_large_enough(cluster: Cluster) -> None:
    choosy = TRAINER._replace(selector={"gpu": "a100"})
    nodes = node("a", "2", labels={"gpu": "l4"}), node("b", "1", labels={"gpu": "a100"})
    ((what, remedy),) = _bad(cluster, RUNNER, *nodes, demand=choosy)
    assert what == "fine-tune: none of the nodes that are large enough (a) has the labels gpu=a100"
    assert remedy.startswith("label one")
    assert _bad(cluster, RUNNER, node("c", "2", labels={"gpu": "a100"}), demand=choosy) == []


@pytest.mark.parametrize(
    ("manifest", "what", "remedy"),
    [
        (quota("gpus", {"requests.nvidia.com/gpu": "1"}),
         "fine-tune asks for 2 of requests.nvidia.com/gpu, and the quota 'gpus' allows 1 in all",
         "raise requests.nvidia.com/gpu in the resource quota 'gpus'"),
        (quota("gpus", {"requests.nvidia.com/gpu": "4"}, {"requests.nvidia.com/gpu": "3"}),
         "fine-tune asks for 2 of requests.nvidia.com/gpu, and 3 of 4 in the quota 'gpus' are used",
         "wait until other pods have ended, or raise requests.nvidia.com/gpu in the resource quota 'gpus'"),
        (quota("memory", {"limits.memory": "16Gi"}),
         "fine-tune asks for 32Gi of limits.memory, and the quota 'memory' allows 16Gi in all",
         "raise limits.memory in the resource quota 'memory'"),
        (limit_range("most", max={"memory": "16Gi"}, default={"cpu": "1", "memory": "1Gi"}),
         "fine-tune asks for 32Gi of memory, and the limit range 'most' allows 16Gi a pod",
         "raise max memory in the limit range 'most'"),
    ],
)  # fmt: skip
def test_what_quotas_and_limits_forbid(cluster: Cluster, manifest: str, what: str, remedy: str) -> None:
    assert _bad(cluster, RUNNER, node("a", "2"), DEFAULTS, manifest) == [(what, remedy)]


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
def test_a_quota_on_cpu_or_memory_asks_for_defaults_of_kfps_own_containers(
    cluster: Cluster, hard: dict[str, str], ranges: tuple[str, ...], missing: str
) -> None:
    told = [
        f"the quota 'compute' counts {missing}, which KFP's own containers do not declare",
    ]
    found = _bad(cluster, RUNNER, node("a", "2"), quota("compute", hard), *ranges)
    assert [what for what, _ in found] == (told if missing else [])


def test_what_pods_name_must_be_in_the_namespace(cluster: Cluster) -> None:
    demanding = TRAINER._replace(config_maps=["radiograft"], secrets=["bucket-key"])
    manifests = named("ConfigMap", "radiograft", namespace="elsewhere"), node("a", "2")
    assert [what for what, _ in _bad(cluster, *manifests, demand=demanding)] == [
        "namespace kubeflow has no config map 'radiograft'",
        "namespace kubeflow has no secret 'bucket-key'",
        "namespace kubeflow has no service account 'pipeline-runner'",
    ]
    there = named("ConfigMap", "radiograft"), named("Secret", "bucket-key"), RUNNER, node("a", "2")
    assert _bad(cluster, *there, demand=demanding) == []


@pytest.mark.parametrize("quantity", ["32GB", "-1Gi", "0", "inf", "", "5 Gi"])
def test_a_wrong_quantity_is_told_first(cluster: Cluster, quantity: str) -> None:
    """Fails where `can_be_asked` lets through what Kubernetes refuses, or that with which every node would do."""
    wrong = TRAINER._replace(resources={"memory": quantity, "cpu": "8"})
    assert _bad(cluster, demand=wrong) == [(f"fine-tune asks for {quantity!r} of memory", "write 500m, 8 or 16Gi")]


@pytest.mark.parametrize("quantity", ["500m", "8", "1.5", ".5", "16Gi", "64G", "1e9", "2E-1"])
def test_a_quantity_may_be_written_in_every_way_of_kubernetes(cluster: Cluster, quantity: str) -> None:
    """Fails where `QUANTITY` lets through less than Kubernetes."""
    assert _bad(cluster, RUNNER, node("a", "2"), demand=TRAINER._replace(resources={"memory": quantity})) == []
