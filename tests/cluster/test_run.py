"""A small run on a real cluster: verdict, pods, artifacts, the published version, and what holds a run."""

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
from tests.cluster.conftest import FOLDER, Radiograft, run_id_in, until

ON_GPUS = ("ingest", "preprocess", "extract-features", "fine-tune", "evaluate")
WITHOUT = ("list-workers", "collect-shards", "publish")
START_MINUTES = 5
CLUSTER = FOLDER / "cluster.yaml"


@pytest.fixture(scope="module")
def pods(kubernetes: KubernetesClient, run_id: str) -> dict[str, Any]:
    """The pods of the small run's tasks by the task, without those of KFP's drivers."""
    found = kubernetes.core.list_namespaced_pod(
        kubernetes.namespace, label_selector=f"pipeline/runid={run_id},{TASK_LABEL}"
    ).items
    return {each.metadata.labels[TASK_LABEL]: each for each in found if "driver" not in each.metadata.name}


def _main(pod: Any) -> Any:
    return next(each for each in pod.spec.containers if each.name == "main")


def test_the_run_succeeds_and_the_command_says_so(waited: Result, run_id: str, server: KfpClient) -> None:
    assert waited.exit_code == 0, waited.output
    assert f"run {run_id} succeeded" in waited.stdout
    run = watch.read_run(server, run_id)
    assert run.state == "SUCCEEDED"
    assert {task.name: task.state for task in watch.task_states(run)} == dict.fromkeys(
        (*ON_GPUS, *WITHOUT), "SUCCEEDED"
    )


def test_every_task_that_computes_had_two_gpus(pods: dict[str, Any]) -> None:
    assert {name: _main(pod).resources.limits.get("nvidia.com/gpu") for name, pod in pods.items()} == {
        **dict.fromkeys(ON_GPUS, "2"),
        **dict.fromkeys(WITHOUT),
    }


def test_pods_were_unprivileged_and_bounded(pods: dict[str, Any]) -> None:
    for pod in pods.values():
        main = _main(pod)
        assert main.security_context.run_as_non_root is True
        assert main.security_context.run_as_user == 10001
        assert main.security_context.allow_privilege_escalation is False
        assert main.security_context.capabilities.drop == ["ALL"]
        assert {"cpu", "memory"} <= main.resources.requests.keys() & main.resources.limits.keys()
        assert pod.spec.active_deadline_seconds


def test_pods_are_labeled_with_run_model_and_task(pods: dict[str, Any], run_id: str, model: str) -> None:
    for name, pod in pods.items():
        labels = {"pipeline/runid": run_id, "radiograft/model": model, TASK_LABEL: name}
        assert labels.items() <= pod.metadata.labels.items()


def test_shared_memory_is_a_file_system_in_memory(pods: dict[str, Any]) -> None:
    for name in ON_GPUS:
        mounted = {mount.mount_path: mount.name for mount in _main(pods[name]).volume_mounts}
        (volume,) = (each for each in pods[name].spec.volumes if each.name == mounted["/dev/shm"])
        assert volume.empty_dir.medium == "Memory"


def test_the_version_is_published(pods: dict[str, Any], kubernetes: KubernetesClient, model: str) -> None:
    name = pods["publish"].metadata.name
    log = kubernetes.core.read_namespaced_pod_log(name, kubernetes.namespace, container="main")
    assert f"published {model} version 1 at " in log


def test_the_version_in_the_registry_is_whole(waited: Result, order: tuple[str, ...], model: str, run_id: str) -> None:
    place = next(each for each in order if each.startswith("registry=")).partition("=")[2]
    try:
        numbers = registry.list_versions(place, model)
    except Exception as error:
        pytest.skip(f"{place} cannot be read from here: {error}")
    assert numbers == [1]
    assert {"saved_model.pb", "assets.extra/metrics.json", "assets.extra/report.html"} <= (
        registry.verify_version(place, model, 1)["files"].keys()
    )
    found = production.read_production(place, model)
    assert found is not None
    assert (found.version, found.history[-1].run_id) == (1, run_id)


def test_the_artifacts_lie_below_the_pipeline_root(
    server: KfpClient, kubernetes: KubernetesClient, run_id: str
) -> None:
    place = tensorboard.run_logs_uri(watch.read_run(server, run_id), "radiograft-transfer-learning", kubernetes)
    try:
        entries = list(storage.list_files(place))
    except Exception as error:
        pytest.skip(f"{place} cannot be read from here: {error}")
    assert {part for entry in entries for part in entry.name.split("/")} >= {
        *("catalog", "shards", "data_report", "features", "feature_model", "model"),
        *("evaluation", "report", "logs", "tensorboard", "mlpipeline_ui_metadata", "version"),
    }


def test_the_run_is_listed(waited: Result, run_id: str, radiograft: Radiograft) -> None:
    rows = [line.split() for line in radiograft("runs").stdout.splitlines() if line.startswith(run_id)]
    assert [row[3] for row in rows] == ["succeeded"]


def test_the_same_package_is_uploaded_once(
    server: KfpClient, started: Callable[..., str], order: tuple[str, ...], model: str, waited: Result
) -> None:
    run = watch.read_run(server, started())
    version = server.pipelines.pipeline_service_get_pipeline_version(
        pipeline_id=run.pipeline_version_reference.pipeline_id,
        pipeline_version_id=run.pipeline_version_reference.pipeline_version_id,
    )
    options = dict(zip(order[::2], order[1::2], strict=True))
    package = read_package("transfer_learning", options["--image"], CLUSTER, model)
    assert version.display_name == package.version
    same = server.pipelines.pipeline_service_list_pipeline_versions(
        pipeline_id=version.pipeline_id, filter=find_by_name(package.version)
    )
    assert len(same.pipeline_versions) == 1


def test_a_run_ends_after_ingest_where_nothing_changed(
    radiograft: Radiograft, server: KfpClient, order: tuple[str, ...], waited: Result
) -> None:
    again = radiograft("submit", *order, "--set", "train_trigger=data_changed", "--wait")
    assert again.exit_code == 0, again.output
    states = watch.task_states(watch.read_run(server, run_id_in(again)))
    assert [task.name for task in states if task.state == "SUCCEEDED"] == ["ingest"]


def test_what_succeeded_is_not_tried_again(radiograft: Radiograft, waited: Result, run_id: str) -> None:
    result = radiograft("retry", run_id)
    assert (result.exit_code, result.output) == (
        1,
        f"Error: a run to retry must be FAILED or CANCELED, got SUCCEEDED for {run_id}\n",
    )


def test_a_failure_is_told_and_can_be_tried_again(radiograft: Radiograft, order: tuple[str, ...]) -> None:
    failing = radiograft("submit", *order, "--set", "format=chestxray14", "--wait")
    assert failing.exit_code == 1
    assert "ingest: FileNotFoundError: " in failing.stdout or "ingest: ValueError: " in failing.stdout
    again = radiograft("retry", run_id_in(failing), "--wait")
    assert again.exit_code == 1
    assert again.stdout.startswith(f"run {run_id_in(failing)} goes on\n")


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("gpus: 4\n", "no node has the GPUs free"),
        ("gpus: 64\n", "raise the resource quota radiograft-gpus"),
        ("image_pull_policy: Never\n", "check the image's name and digest"),
        ("node_selector: {radiograft-test: nowhere}\n", "label a node as the node selector asks"),
    ],
)
def test_what_holds_a_run_is_told(
    radiograft: Radiograft, started: Callable[..., str], tmp_path: Path, change: str, remedy: str
) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(CLUSTER.read_text() + change)
    missing = ("--image", "radiograft/no-such-image:1") if "Never" in change else ()
    run_id = started("--cluster", str(file), *missing)
    until(lambda: remedy in radiograft("runs", run_id).stdout, START_MINUTES)
