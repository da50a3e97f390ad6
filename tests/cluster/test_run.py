"""A small run on a real cluster: its state, pods, artifacts, published version and pod issues."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft_pipelines.cluster import tensorboard, watch
from radiograft_pipelines.cluster.kfp_client import KfpClient, find_by_name
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.package import read_package
from radiograft_pipelines.cluster.pod_diagnosis import TASK_LABEL
from tests.cluster.conftest import FOLDER, Radiograft, run_id_in, wait_until

GPU_TASKS = ("ingest", "preprocess-share", "extract-features", "fine-tune", "evaluate")
CPU_TASKS = ("list-workers", "collect-shards", "publish")
START_MINUTES = 5
CLUSTER = FOLDER / "cluster.yaml"


@pytest.fixture(scope="module")
def pods(kubernetes: KubernetesClient, run_id: str) -> dict[str, Any]:
    """The pods of the small run's tasks by task name, without those of KFP's drivers."""
    items = kubernetes.core.list_namespaced_pod(
        kubernetes.namespace, label_selector=f"pipeline/runid={run_id},{TASK_LABEL}"
    ).items
    return {pod.metadata.labels[TASK_LABEL]: pod for pod in items if "driver" not in pod.metadata.name}


def _main(pod: Any) -> Any:
    return next(container for container in pod.spec.containers if container.name == "main")


def test_submit_wait_small_run_succeeds(waited: Result, run_id: str, server: KfpClient) -> None:
    assert waited.exit_code == 0, waited.output
    assert f"run {run_id} succeeded" in waited.stdout
    run = watch.read_run(server, run_id)
    assert run.state == "SUCCEEDED"
    assert {task.name: task.state for task in watch.task_states(run)} == dict.fromkeys(
        (*GPU_TASKS, *CPU_TASKS), "SUCCEEDED"
    )


def test_pods_gpu_tasks_have_two_gpus(pods: dict[str, Any]) -> None:
    assert {name: _main(pod).resources.limits.get("nvidia.com/gpu") for name, pod in pods.items()} == {
        **dict.fromkeys(GPU_TASKS, "2"),
        **dict.fromkeys(CPU_TASKS),
    }


def test_pods_are_unprivileged_and_limited(pods: dict[str, Any]) -> None:
    for pod in pods.values():
        main = _main(pod)
        assert main.security_context.run_as_non_root is True
        assert main.security_context.run_as_user == 10001
        assert main.security_context.allow_privilege_escalation is False
        assert main.security_context.capabilities.drop == ["ALL"]
        assert {"cpu", "memory"} <= main.resources.requests.keys() & main.resources.limits.keys()
        assert pod.spec.active_deadline_seconds


def test_pods_labels_name_run_model_and_task(pods: dict[str, Any], run_id: str, model: str) -> None:
    for name, pod in pods.items():
        labels = {"pipeline/runid": run_id, "radiograft/model": model, TASK_LABEL: name}
        assert labels.items() <= pod.metadata.labels.items()


def test_pods_shared_memory_is_memory_backed(pods: dict[str, Any]) -> None:
    for name in GPU_TASKS:
        mounted = {mount.mount_path: mount.name for mount in _main(pods[name]).volume_mounts}
        (volume,) = (volume for volume in pods[name].spec.volumes if volume.name == mounted["/dev/shm"])
        assert volume.empty_dir.medium == "Memory"


def test_publish_log_names_version(pods: dict[str, Any], kubernetes: KubernetesClient, model: str) -> None:
    name = pods["publish"].metadata.name
    log = kubernetes.core.read_namespaced_pod_log(name, kubernetes.namespace, container="main")
    assert f"published {model} version 1 at " in log


def test_registry_version_is_complete(waited: Result, run_options: tuple[str, ...], model: str, run_id: str) -> None:
    root = next(option for option in run_options if option.startswith("registry=")).partition("=")[2]
    try:
        numbers = registry.list_versions(root, model)
    except Exception as error:
        pytest.skip(f"{root} cannot be read from this machine: {error}")
    assert numbers == [1]
    assert {"saved_model.pb", "assets.extra/metrics.json", "assets.extra/report.html"} <= (
        registry.verify_version(root, model, 1)["files"].keys()
    )
    current = production.read_production(root, model)
    assert current is not None
    assert (current.version, current.history[-1].run_id) == (1, run_id)


def test_artifacts_are_below_pipeline_root(server: KfpClient, kubernetes: KubernetesClient, run_id: str) -> None:
    root = tensorboard.run_logs_uri(watch.read_run(server, run_id), "radiograft-transfer-learning", kubernetes)
    try:
        entries = list(storage.list_files(root))
    except Exception as error:
        pytest.skip(f"{root} cannot be read from this machine: {error}")
    assert {part for entry in entries for part in entry.name.split("/")} >= {
        *("catalog", "shards", "data_report", "features", "feature_model", "model"),
        *("evaluation", "report", "logs", "tensorboard", "mlpipeline_ui_metadata", "version"),
    }


def test_runs_lists_the_run(waited: Result, run_id: str, radiograft: Radiograft) -> None:
    rows = [line.split() for line in radiograft("runs").stdout.splitlines() if line.startswith(run_id)]
    assert [row[3] for row in rows] == ["succeeded"]


def test_submit_same_package_is_uploaded_once(
    server: KfpClient, started: Callable[..., str], run_options: tuple[str, ...], model: str, waited: Result
) -> None:
    run = watch.read_run(server, started())
    version = server.pipelines.pipeline_service_get_pipeline_version(
        pipeline_id=run.pipeline_version_reference.pipeline_id,
        pipeline_version_id=run.pipeline_version_reference.pipeline_version_id,
    )
    options = dict(zip(run_options[::2], run_options[1::2], strict=True))
    package = read_package("transfer_learning", options["--image"], CLUSTER, model)
    assert version.display_name == package.version
    same = server.pipelines.pipeline_service_list_pipeline_versions(
        pipeline_id=version.pipeline_id, filter=find_by_name(package.version)
    )
    assert len(same.pipeline_versions) == 1


def test_submit_unchanged_data_ends_after_ingest(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], waited: Result
) -> None:
    again = radiograft("submit", *run_options, "--set", "train_trigger=data_changed", "--wait")
    assert again.exit_code == 0, again.output
    states = watch.task_states(watch.read_run(server, run_id_in(again)))
    assert [task.name for task in states if task.state == "SUCCEEDED"] == ["ingest"]


def test_retry_succeeded_run_raises(radiograft: Radiograft, waited: Result, run_id: str) -> None:
    result = radiograft("retry", run_id)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: a run to retry must be FAILED or CANCELED, got SUCCEEDED for {run_id}\n",
    )


def test_retry_failed_run_resumes(radiograft: Radiograft, run_options: tuple[str, ...]) -> None:
    failing = radiograft("submit", *run_options, "--set", "format=chestxray14", "--wait")
    assert failing.exit_code == 1
    assert "ingest: FileNotFoundError: " in failing.stdout or "ingest: ValueError: " in failing.stdout
    again = radiograft("retry", run_id_in(failing), "--wait")
    assert again.exit_code == 1
    assert again.stdout.startswith(f"run {run_id_in(failing)} resumed\n")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("gpus: 4\n", "no node has enough free GPUs"),
        ("gpus: 64\n", "raise the resource quota radiograft-gpus"),
        ("image_pull_policy: Never\n", "check the image's name and digest"),
        ("node_selector: {radiograft-test: nowhere}\n", "label a node to match the node selector"),
    ],
)
def test_runs_blocked_pod_shows_remedy(
    radiograft: Radiograft, started: Callable[..., str], tmp_path: Path, change: str, remedy: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER.read_text() + change)
    missing = ("--image", "radiograft/no-such-image:1") if "Never" in change else ()
    run_id = started("--cluster", str(file), *missing)
    wait_until(lambda: remedy in radiograft("runs", run_id).stdout, START_MINUTES)
