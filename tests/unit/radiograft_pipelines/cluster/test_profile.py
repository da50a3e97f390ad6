"""What a cluster file changes in a compiled package, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components as kfp_components

from radiograft_pipelines.cluster.profile import ClusterProfile, apply_profile
from tests.helpers.packages import COMPILED, PACKAGES, TASKS

STAGES = ("ingest", "preprocess", "extract-features", "fine-tune", "evaluate")


class Placed:
    """Containers and pods of a package's tasks, by the tasks' names."""

    def __init__(self, package: str, cluster: ClusterProfile) -> None:
        self.text = apply_profile((COMPILED / f"{package}.yaml").read_text(), cluster)
        spec, platform = yaml.safe_load_all(self.text)
        executors = spec["deploymentSpec"]["executors"]
        self.containers = {name.removeprefix("exec-"): each["container"] for name, each in executors.items()}
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.pods: dict[str, dict[str, Any]] = {name.removeprefix("exec-"): pod for name, pod in pods.items()}

    def promised(self) -> set[str]:
        """The values of the promise of GPUs in the containers that have it."""
        variables = [each for container in self.containers.values() for each in container["env"]]
        return {each["value"] for each in variables if each["name"] == "RADIOGRAFT_PROMISED_GPUS"}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_cluster_without_wishes_changes_nothing(package: str) -> None:
    before = list(yaml.safe_load_all((COMPILED / f"{package}.yaml").read_text()))
    text = apply_profile((COMPILED / f"{package}.yaml").read_text(), ClusterProfile())
    after = list(yaml.safe_load_all(text))
    for pod in after[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert pod.pop("nodeSelector") == {}
    assert after == before
    kfp_components.load_component_from_text(text)


def test_other_gpus() -> None:
    changed = Placed("transfer_learning", ClusterProfile(gpu_type="amd.com/gpu", gpus=4))
    for name in STAGES:
        assert changed.containers[name]["resources"]["accelerator"] == {
            "count": "4",
            "resourceCount": "4",
            "type": "amd.com/gpu",
            "resourceType": "amd.com/gpu",
        }
        assert changed.pods[name]["tolerations"] == [
            {"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
        ]
    assert changed.promised() == {"4"}
    assert "accelerator" not in changed.containers["publish"]["resources"]


def test_the_cpu_image_does_not_require_gpus() -> None:
    changed = Placed("transfer_learning", ClusterProfile(require_gpus=False))
    assert changed.promised() == {"0"}
    assert changed.containers["fine-tune"]["resources"]["accelerator"]["resourceCount"] == "2"


def test_a_cluster_without_gpus() -> None:
    changed = Placed("transfer_learning", ClusterProfile(gpus=0))
    assert changed.promised() == {"0"}
    assert all("accelerator" not in each["resources"] for each in changed.containers.values())
    assert all("tolerations" not in pod for pod in changed.pods.values())


def test_small_nodes() -> None:
    changed = Placed("transfer_learning", ClusterProfile(max_cpu="2", max_memory="4Gi"))
    assert changed.containers["fine-tune"]["resources"] == {
        "accelerator": {
            "count": "2",
            "resourceCount": "2",
            "type": "nvidia.com/gpu",
            "resourceType": "nvidia.com/gpu",
        },
        "resourceCpuRequest": "2",
        "resourceCpuLimit": "2",
        "resourceMemoryRequest": "4Gi",
        "resourceMemoryLimit": "4Gi",
        "cpuRequest": 2.0,
        "cpuLimit": 2.0,
        "memoryRequest": 4.294967296,
        "memoryLimit": 4.294967296,
    }
    assert changed.containers["publish"]["resources"]["resourceMemoryRequest"] == "2Gi"  # was below


def test_the_nodes_that_may_be_used() -> None:
    spot = {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    changed = Placed("transfer_learning", ClusterProfile(tolerations=[spot], node_selector={"pool": "gpu"}))
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    for name in STAGES:
        assert changed.pods[name]["tolerations"] == [gpu, spot]
        assert changed.pods[name]["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert changed.pods["publish"]["tolerations"] == [spot]
    assert changed.pods["publish"]["nodeSelector"] == {}


def test_images_secrets_and_labels() -> None:
    cluster = ClusterProfile(
        image_pull_policy="Always",
        image_pull_secrets=["registry"],
        secret="mlpipeline-minio-artifact",
        labels={"team": "chest"},
    )
    changed = Placed("cutoff_search", cluster)
    assert sorted(changed.pods) == sorted(TASKS["cutoff_search"])
    for name, pod in changed.pods.items():
        assert pod["imagePullPolicy"] == "Always"
        assert [each["secretName"] for each in pod["imagePullSecret"]] == ["registry"]
        assert [each["secretName"] for each in pod["secretAsEnv"]] == ["mlpipeline-minio-artifact", "radiograft-salt"]
        assert pod["podMetadata"]["labels"] == {
            "app.kubernetes.io/part-of": "radiograft",
            "app.kubernetes.io/component": name,
            "team": "chest",
        }


@pytest.mark.parametrize(
    ("storage_class", "claimed"), [("", {"defaultStorageClass": True}), ("fast", {"storageClassName": "fast"})]
)
def test_scratch_on_a_volume_of_its_own(storage_class: str, claimed: dict[str, Any]) -> None:
    changed = Placed("cutoff_search", ClusterProfile(scratch="200Gi", scratch_class=storage_class))
    claim = {"volumeName": "writable", "mountPath": "/tmp", "accessModes": ["ReadWriteOnce"], "size": "200Gi"}
    for name in STAGES:
        assert changed.pods[name]["genericEphemeralVolume"] == [claim | claimed]
        assert [mount["mountPath"] for mount in changed.pods[name]["emptyDirMounts"]] == ["/dev/shm"]
    for name in ("publish", "choose-model"):  # they write little
        assert "genericEphemeralVolume" not in changed.pods[name]
        assert [mount["mountPath"] for mount in changed.pods[name]["emptyDirMounts"]] == ["/tmp"]


@pytest.mark.parametrize("model", ["chest-radiograph", "chest-radiograph_-"])
def test_runs_are_labeled_with_their_model(model: str) -> None:
    changed = Placed("transfer_learning", ClusterProfile(labels={"team": "chest"}).running(model))
    for name, pod in changed.pods.items():
        assert pod["podMetadata"]["labels"] == {
            "app.kubernetes.io/part-of": "radiograft",
            "app.kubernetes.io/component": name,
            "radiograft/model": "chest-radiograph",
            "team": "chest",
        }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gpus: [", "cluster.yaml must be YAML"),
        ("- gpus", "must be a mapping of `name: value`, got list"),
        ("gpu: 2", "has no setting 'gpu'; did you mean"),
        ("gpus: two", "gpus must be int, got 'two'"),
        ("gpus: true", "gpus must be int, got True"),
        ("gpus: -1", "gpus must be 0 or more, got -1"),
        ("max_cpu: 2", "max_cpu must be str, got 2"),
        ("max_memory: 4 GB", "max_memory must be a quantity above 0 such as 500m, 8 or 16Gi, got '4 GB'"),
        ("scratch: huge", "scratch must be a quantity above 0 such as 500m, 8 or 16Gi, got 'huge'"),
        ("max_cpu: '-1'", "max_cpu must be a quantity above 0 such as 500m, 8 or 16Gi, got '-1'"),
        ("max_memory: '0'", "max_memory must be a quantity above 0 such as 500m, 8 or 16Gi, got '0'"),
        ("max_memory: inf", "max_memory must be a quantity above 0 such as 500m, 8 or 16Gi, got 'inf'"),
        ("scratch: -5Gi", "scratch must be a quantity above 0 such as 500m, 8 or 16Gi, got '-5Gi'"),
        ("gpu_type: ''", "gpu_type must be a name, got ''; without the line it is nvidia.com/gpu"),
        ("secret: ''", "secret must be a name, got ''; without the line it is radiograft-store"),
        ("labels: {team: a b}", "values of labels must be at most 63 letters, digits and ._-, a letter or digit"),
        ("labels: {team: [a]}", "first and last, got ['a'] for team"),
        ("node_selector: {pool: 1}", "values of node_selector must be at most 63 letters"),
        ("gpus: 1\ngpus: 2", "'gpus' is given twice"),
        ("image_pull_policy: always", "image_pull_policy must be Always, IfNotPresent or Never, got 'always'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """Fails where `Cluster` lacks the check: an empty gpu_type would tolerate every taint of every node, and of the
    rest KFP's driver or Kubernetes would tell after the run has started."""
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"cluster\.yaml|must be") as refused:
        ClusterProfile.read(tmp_path / "cluster.yaml")
    assert message in str(refused.value)


def test_what_kfp_cannot_give_a_pod_is_refused() -> None:
    with pytest.raises(ValueError, match=r'KFP cannot give this to a pod: .*"operater"'):
        Placed("transfer_learning", ClusterProfile(tolerations=[{"key": "spot", "operater": "Exists"}]))


@pytest.mark.parametrize("value", ["", "a", "x" * 63, "A-1.b_2"])
def test_a_label_may_have_any_value_that_kubernetes_takes(value: str) -> None:
    """Fails where `LABEL_VALUE` lets through less than Kubernetes."""
    changed = Placed("transfer_learning", ClusterProfile(labels={"team": value}, node_selector={"pool": value}))
    assert changed.pods["fine-tune"]["podMetadata"]["labels"]["team"] == value


@pytest.mark.parametrize("value", ["x" * 64, "-a", "a.", "a\n"])
def test_a_label_that_kubernetes_refuses_is_refused(value: str) -> None:
    """Fails where `LABEL_VALUE` has no bound on length or ends, or lets a line end through."""
    with pytest.raises(ValueError, match=r"^values of labels must be at most 63 letters"):
        ClusterProfile(labels={"team": value})


def test_an_empty_file_is_a_cluster_without_wishes(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("# nothing\n")
    assert ClusterProfile.read(tmp_path / "cluster.yaml") == ClusterProfile()
