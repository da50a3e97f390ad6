"""A small run on a real cluster: its tasks, its pods, what it caches, and how it is listed."""

from __future__ import annotations

from typing import Any

import pytest
from click.testing import Result

from radiograft_pipelines.cluster import watch
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.pod_diagnosis import TASK_LABEL
from tests.cluster.conftest import Radiograft, listed_row, listed_state, run_id_in

STAGES = ("ingest", "preprocess", "extract-features", "fine-tune", "evaluate", "publish")
GPU_TASKS = ("ingest", "preprocess", "extract-features", "fine-tune", "evaluate")
# KFP reuses the result of any earlier run whose task had the same inputs. Such a task has no pod.
CACHEABLE = ("list-workers",)
Pods = dict[str, list[Any]]


@pytest.fixture(scope="module")
def pods(kubernetes: KubernetesClient, run_id: str) -> Pods:
    """The pods of the small run by the name of their task, without those of KFP's drivers."""
    return _pods_of(kubernetes, run_id)


def _pods_of(kubernetes: KubernetesClient, run_id: str) -> Pods:
    selector = f"pipeline/runid={run_id},{TASK_LABEL}"
    pods: Pods = {}
    for pod in kubernetes.core.list_namespaced_pod(kubernetes.namespace, label_selector=selector).items:
        if "driver" not in pod.metadata.name:
            pods.setdefault(pod.metadata.labels[TASK_LABEL], []).append(pod)
    return pods


def _main(pod: Any) -> Any:
    return next(container for container in pod.spec.containers if container.name == "main")


def test_submit_wait_small_run_succeeds(waited: Result, run_id: str, server: KfpClient) -> None:
    """Needs two GPUs, 500m CPU and 3Gi of memory free on a node."""
    assert waited.exit_code == 0, waited.output
    assert f"run {run_id} succeeded" in waited.stdout
    run = watch.read_run(server, run_id)
    assert run.state == "SUCCEEDED"
    states = {task.name: task.state for task in watch.task_states(run)}
    assert states.keys() >= {*STAGES, *CACHEABLE, "collect-shards"}
    assert set(states.values()) == {"SUCCEEDED"}


def test_pods_exist_for_all_tasks_that_were_not_cached(pods: Pods) -> None:
    """Needs the pods of the small run, which KFP keeps for an hour."""
    assert {*STAGES, "collect-shards"} <= pods.keys()
    assert len(pods["preprocess"]) == 2


def test_pods_gpu_tasks_have_two_gpus(pods: Pods) -> None:
    """Needs the pods of the small run."""
    gpus = {name: {_main(pod).resources.limits.get("nvidia.com/gpu") for pod in each} for name, each in pods.items()}
    assert gpus == {name: {"2"} if name in GPU_TASKS else {None} for name in pods}


def test_pods_are_unprivileged_and_limited(pods: Pods) -> None:
    """Needs the pods of the small run."""
    for pod in (pod for each in pods.values() for pod in each):
        main = _main(pod)
        assert main.security_context.run_as_non_root is True
        assert main.security_context.run_as_user == 10001
        assert main.security_context.allow_privilege_escalation is False
        assert main.security_context.capabilities.drop == ["ALL"]
        assert {"cpu", "memory"} <= main.resources.requests.keys() & main.resources.limits.keys()
        assert pod.spec.active_deadline_seconds


def test_pods_labels_name_run_and_task(pods: Pods, run_id: str) -> None:
    """Needs the pods of the small run."""
    for name, each in pods.items():
        labels = {"pipeline/runid": run_id, "app.kubernetes.io/part-of": "radiograft", TASK_LABEL: name}
        assert all(labels.items() <= pod.metadata.labels.items() for pod in each)


def test_pods_shared_memory_is_memory_backed(pods: Pods) -> None:
    """Needs the pods of the small run."""
    for pod in (pod for name in GPU_TASKS for pod in pods[name]):
        mounted = {mount.mount_path: mount.name for mount in _main(pod).volume_mounts}
        (volume,) = (volume for volume in pod.spec.volumes if volume.name == mounted["/dev/shm"])
        assert volume.empty_dir.medium == "Memory"


def test_publish_log_names_version(pods: Pods, kubernetes: KubernetesClient, model: str) -> None:
    """Needs the pod of publish, and permission to read its log."""
    (pod,) = pods["publish"]
    log = kubernetes.core.read_namespaced_pod_log(pod.metadata.name, kubernetes.namespace, container="main")
    assert f"published {model} version 1 at " in log


def test_runs_lists_the_run_with_its_version(
    waited: Result, run_id: str, radiograft: Radiograft, model: str, readable_registry: str
) -> None:
    """Needs access to the store from this machine."""
    assert listed_state(radiograft, run_id) == "succeeded"
    assert f"{model} 1 (production)" in listed_row(radiograft, run_id)


def test_runs_tells_loop_tasks_apart(waited: Result, run_id: str, radiograft: Radiograft) -> None:
    """Needs the small run, which has two preprocess workers."""
    lines = radiograft("runs", run_id).stdout.splitlines()
    workers = [line.split(maxsplit=4)[:4] for line in lines if line.startswith("preprocess ")]
    assert len(workers) >= 2
    assert len({tuple(words) for words in workers}) == len(workers)


def test_submit_again_takes_cached_task_without_pod(
    radiograft: Radiograft,
    server: KfpClient,
    kubernetes: KubernetesClient,
    run_options: tuple[str, ...],
    waited: Result,
    model: str,
) -> None:
    """Needs KFP's cache, which is on by default. A run of another model takes the result of `list-workers` from it."""
    again = radiograft("submit", *run_options, "--set", f"model_name={model}-again", "--wait")
    assert again.exit_code == 0, again.output
    run_id = run_id_in(again)
    states = {task.name: task.state for task in watch.task_states(watch.read_run(server, run_id))}
    assert states["list-workers"] == "SUCCEEDED"
    assert "list-workers" not in _pods_of(kubernetes, run_id)
    (line,) = (line for line in radiograft("runs", run_id).stdout.splitlines() if line.startswith("list-workers "))
    assert line.split()[1] == "cached"


def test_submit_retraining_of_unchanged_data_ends_after_ingest(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], waited: Result
) -> None:
    """Needs the version of the small run in production."""
    again = radiograft("submit", *run_options, "--pipeline", "retraining", "--wait")
    assert again.exit_code == 0, again.output
    states = watch.task_states(watch.read_run(server, run_id_in(again)))
    assert [task.name for task in states if task.state == "SUCCEEDED"] == ["ingest"]
    assert "nothing new" in listed_row(radiograft, run_id_in(again))
