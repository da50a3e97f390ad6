"""`find_shortage` compares pods with what the nodes' pods leave free; `run_checks` reports it as a warning."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft_pipelines.cluster import kubernetes_client
from radiograft_pipelines.cluster.pod_request import PodRequest, parse_quantity
from radiograft_pipelines.cluster.preflight import checks, free_resources
from radiograft_pipelines.cluster.preflight.nodes import Node
from tests.helpers.clusters import RUNNER, bound_pod, node
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.helpers.recordings import read_recording

Cluster = Callable[..., KubernetesDouble]
EVALUATE = PodRequest("evaluate", {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "2"}, [], {}, [], [])
FITS = "the nodes have enough free resources now for each of these pods"


def _warnings(cluster: Cluster, *manifests: str, pods: tuple[PodRequest, ...] = (EVALUATE,)) -> list[tuple[str, str]]:
    """Returns message and remedy of the warnings; all other checks must pass."""
    cluster(RUNNER, *manifests)
    results = list(checks.run_checks(kubernetes_client.connect("kubeflow"), pods, "pipeline-runner"))
    assert "bad" not in {result.level for result in results}
    return [(result.message, result.remedy) for result in results if result.level == "warning"]


def test_run_checks_no_free_cpu_is_warning_with_holders(cluster: Cluster) -> None:
    """The recorded node has 2 CPUs, which two replicas of Serving with one each occupy."""
    (recorded,) = read_recording("nodes")["items"]
    serving = [bound_pod(f"radiograft-serving-{name}", "node1", requests={"cpu": "1"}) for name in "ab"]
    task = EVALUATE._replace(resources={"cpu": "500m", "memory": "3Gi", "nvidia.com/gpu": "2"})
    publish = PodRequest("publish", {"cpu": "500m", "memory": "2Gi"}, [], {}, [], [])
    assert _warnings(cluster, json.dumps(recorded), *serving, pods=(task, publish)) == [
        (
            "evaluate, publish: no suitable node has enough free now: node1 has 0 of 2 cpu",
            (
                "wait until other pods have ended, or scale some down; the largest requests of cpu: "
                "kubeflow/radiograft-serving-b (1), kubeflow/radiograft-serving-a (1)"
            ),
        )
    ]


def test_run_checks_all_short_resources_of_all_nodes_are_named(cluster: Cluster) -> None:
    pods = (
        bound_pod("database", "a", namespace="other", requests={"cpu": "8500m", "memory": "60Gi"}),
        bound_pod("training", "b", requests={"nvidia.com/gpu": "1", "memory": "50Gi"}),
    )
    ((message, _),) = _warnings(cluster, node("a", "2"), node("b", "2"), node("c"), *pods)
    assert message == (
        "evaluate: no suitable node has enough free now: a has 7.5 of 16 cpu and 4Gi of 64Gi memory; "
        "b has 1 of 2 nvidia.com/gpu and 14Gi of 64Gi memory"
    )


@pytest.mark.parametrize(
    "pods",
    [
        (),
        (bound_pod("ended", "a", phase="Succeeded", requests={"cpu": "16"}),),
        (bound_pod("failed", "a", phase="Failed", requests={"cpu": "16"}),),
        (bound_pod("waiting", "", phase="Pending", requests={"cpu": "16"}),),
        (bound_pod("elsewhere", "b", requests={"cpu": "16"}),),
        (bound_pod("beside", "a", requests={"cpu": "8", "memory": "48Gi"}),),
        (bound_pod("best-effort", "a"),),
    ],
)
def test_run_checks_enough_free_passes(cluster: Cluster, pods: tuple[str, ...]) -> None:
    assert _warnings(cluster, node("a", "2"), node("b"), *pods) == []


def _container(cpu: str, **options: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}, **options}


@pytest.mark.parametrize(
    ("spec", "free"),
    [
        ({"initContainers": [_container("10"), _container("12")], "requests": {"cpu": "9"}}, "4"),
        (
            {"initContainers": [_container("3", restartPolicy="Always"), _container("10")], "requests": {"cpu": "9"}},
            "3",
        ),
        (
            {"initContainers": [_container("10"), _container("3", restartPolicy="Always")], "requests": {"cpu": "9"}},
            "4",
        ),
        ({"overhead": {"cpu": "250m"}, "requests": {"cpu": "9"}}, "6.75"),
    ],
)
def test_run_checks_init_containers_and_overhead_are_reserved(
    cluster: Cluster, spec: dict[str, Any], free: str
) -> None:
    """Fails if a pod counts differently than in Kubernetes's scheduler."""
    ((message, _),) = _warnings(cluster, node("a", "2"), bound_pod("holder", "a", **spec))
    assert message.endswith(f": a has {free} of 16 cpu")


@given(
    allocatable=st.lists(st.integers(1, 16), min_size=1, max_size=3),
    used=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 8)), max_size=8),
    needed=st.integers(1, 16),
)
def test_find_shortage_none_means_that_some_node_has_room(
    allocatable: list[int], used: list[tuple[int, int]], needed: int
) -> None:
    nodes = [Node(str(index), True, {}, [], {"cpu": parse_quantity(str(cpu))}) for index, cpu in enumerate(allocatable)]
    bound = [
        free_resources.BoundPod(f"n/{number}", str(index), {"cpu": parse_quantity(str(cpu))})
        for number, (index, cpu) in enumerate(used)
    ]
    pod = PodRequest("ingest", {"cpu": str(needed)}, [], {}, [], [])
    left = [cpu - sum(each for index, each in used if index == number) for number, cpu in enumerate(allocatable)]
    expected = (
        max(allocatable)
        >= needed
        > max((free for free, cpu in zip(left, allocatable, strict=True) if cpu >= needed), default=0)
    )
    assert (free_resources.find_shortage(pod, nodes, bound) is not None) == expected
