"""What a cluster profile changes in a compiled package, and what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components as kfp_components

from radiograft_pipelines.cluster.profile import ClusterProfile, apply_profile
from tests.helpers.packages import COMPILED, PACKAGES, TASKS

STAGES = ("ingest", "preprocess", "extract-features", "fine-tune", "evaluate")


class AdaptedPackage:
    """The containers and pods of a package after a profile was applied, by task name."""

    def __init__(self, package: str, cluster: ClusterProfile) -> None:
        self.text = apply_profile((COMPILED / f"{package}.yaml").read_text(), cluster)
        spec, platform = yaml.safe_load_all(self.text)
        executors = spec["deploymentSpec"]["executors"]
        self.containers = {name.removeprefix("exec-"): executor["container"] for name, executor in executors.items()}
        pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        self.pods: dict[str, dict[str, Any]] = {name.removeprefix("exec-"): pod for name, pod in pods.items()}

    def promised_gpus(self) -> set[str]:
        """Returns the numbers of GPUs that the containers are promised."""
        variables = [variable for container in self.containers.values() for variable in container["env"]]
        return {variable["value"] for variable in variables if variable["name"] == "RADIOGRAFT_PROMISED_GPUS"}


@pytest.mark.parametrize("package", PACKAGES)
def test_apply_profile_default_changes_nothing(package: str) -> None:
    before = list(yaml.safe_load_all((COMPILED / f"{package}.yaml").read_text()))
    text = apply_profile((COMPILED / f"{package}.yaml").read_text(), ClusterProfile())
    after = list(yaml.safe_load_all(text))
    for pod in after[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        assert pod.pop("nodeSelector") == {}
    assert after == before
    kfp_components.load_component_from_text(text)


def test_apply_profile_gpu_type_replaces_resource_and_toleration() -> None:
    changed = AdaptedPackage("transfer_learning", ClusterProfile(gpu_type="amd.com/gpu", gpus=4))
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
    assert changed.promised_gpus() == {"4"}
    assert "accelerator" not in changed.containers["publish"]["resources"]


def test_apply_profile_gpus_not_required_promises_none() -> None:
    changed = AdaptedPackage("transfer_learning", ClusterProfile(require_gpus=False))
    assert changed.promised_gpus() == {"0"}
    assert changed.containers["fine-tune"]["resources"]["accelerator"]["resourceCount"] == "2"


def test_apply_profile_no_gpus_removes_accelerators() -> None:
    changed = AdaptedPackage("transfer_learning", ClusterProfile(gpus=0))
    assert changed.promised_gpus() == {"0"}
    assert all("accelerator" not in container["resources"] for container in changed.containers.values())
    assert all("tolerations" not in pod for pod in changed.pods.values())


def test_apply_profile_max_cpu_and_memory_lowers_resources() -> None:
    changed = AdaptedPackage("transfer_learning", ClusterProfile(max_cpu="2", max_memory="4Gi"))
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
    assert changed.containers["publish"]["resources"]["resourceMemoryRequest"] == "2Gi"  # already below the bound


def test_apply_profile_tolerations_and_selector_are_set() -> None:
    spot = {"key": "spot", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    changed = AdaptedPackage("transfer_learning", ClusterProfile(tolerations=[spot], node_selector={"pool": "gpu"}))
    gpu = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    for name in STAGES:
        assert changed.pods[name]["tolerations"] == [gpu, spot]
        assert changed.pods[name]["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert changed.pods["publish"]["tolerations"] == [spot]
    assert changed.pods["publish"]["nodeSelector"] == {}


def test_apply_profile_images_secrets_and_labels_are_set() -> None:
    cluster = ClusterProfile(
        image_pull_policy="Always",
        image_pull_secrets=["registry"],
        secret="mlpipeline-minio-artifact",
        labels={"team": "chest"},
    )
    changed = AdaptedPackage("cutoff_search", cluster)
    assert sorted(changed.pods) == sorted(TASKS["cutoff_search"])
    for name, pod in changed.pods.items():
        assert pod["imagePullPolicy"] == "Always"
        assert [secret["secretName"] for secret in pod["imagePullSecret"]] == ["registry"]
        pacs = ["radiograft-pacs"] if name in ("ingest", "preprocess") else []
        secrets = [*pacs, "mlpipeline-minio-artifact", "radiograft-salt"]
        assert [secret["secretName"] for secret in pod["secretAsEnv"]] == secrets
        assert pod["podMetadata"]["labels"] == {
            "app.kubernetes.io/part-of": "radiograft",
            "app.kubernetes.io/component": name,
            "team": "chest",
        }


@pytest.mark.parametrize(
    ("storage_class", "class_field"), [("", {"defaultStorageClass": True}), ("fast", {"storageClassName": "fast"})]
)
def test_apply_profile_scratch_mounts_volume(storage_class: str, class_field: dict[str, Any]) -> None:
    changed = AdaptedPackage("cutoff_search", ClusterProfile(scratch="200Gi", scratch_class=storage_class))
    volume = {"volumeName": "writable", "mountPath": "/tmp", "accessModes": ["ReadWriteOnce"], "size": "200Gi"}
    for name in STAGES:
        assert changed.pods[name]["genericEphemeralVolume"] == [volume | class_field]
        assert [mount["mountPath"] for mount in changed.pods[name]["emptyDirMounts"]] == ["/dev/shm"]
    for name in ("publish", "choose-model"):  # they write little to /tmp
        assert "genericEphemeralVolume" not in changed.pods[name]
        assert [mount["mountPath"] for mount in changed.pods[name]["emptyDirMounts"]] == ["/tmp"]


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
        ("gpu_type: ''", "gpu_type must be a name, got ''; the default is nvidia.com/gpu"),
        ("secret: ''", "secret must be a name, got ''; the default is radiograft-store"),
        ("labels: {team: a b}", "values of labels must be at most 63 letters, digits and ._-, with a letter"),
        ("labels: {team: [a]}", "a letter or digit at both ends, got ['a'] for team"),
        ("node_selector: {pool: 1}", "values of node_selector must be at most 63 letters"),
        ("gpus: 1\ngpus: 2", "'gpus' is given twice"),
        ("image_pull_policy: always", "image_pull_policy must be Always, IfNotPresent or Never, got 'always'"),
    ],
)
def test_read_invalid_file_raises(tmp_path: Path, text: str, message: str) -> None:
    """Fails if a check is missing: an empty gpu_type would tolerate every taint, and all other errors would only be
    reported after the run has started."""
    (tmp_path / "cluster.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"cluster\.yaml|must be") as error:
        ClusterProfile.read(tmp_path / "cluster.yaml")
    assert message in str(error.value)


def test_apply_profile_unsupported_toleration_raises() -> None:
    with pytest.raises(ValueError, match=r'KFP does not support this pod configuration: .*"operater"'):
        AdaptedPackage("transfer_learning", ClusterProfile(tolerations=[{"key": "spot", "operater": "Exists"}]))


@pytest.mark.parametrize("value", ["", "a", "x" * 63, "A-1.b_2"])
def test_labels_valid_are_accepted(value: str) -> None:
    """Fails if `LABEL_VALUE` is stricter than Kubernetes."""
    changed = AdaptedPackage("transfer_learning", ClusterProfile(labels={"team": value}, node_selector={"pool": value}))
    assert changed.pods["fine-tune"]["podMetadata"]["labels"]["team"] == value


@pytest.mark.parametrize("value", ["x" * 64, "-a", "a.", "a\n"])
def test_labels_invalid_raises(value: str) -> None:
    """Fails if `LABEL_VALUE` does not limit the length or the ends, or accepts a newline."""
    with pytest.raises(ValueError, match=r"^values of labels must be at most 63 letters"):
        ClusterProfile(labels={"team": value})


def test_read_empty_file_returns_defaults(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("# nothing\n")
    assert ClusterProfile.read(tmp_path / "cluster.yaml") == ClusterProfile()
