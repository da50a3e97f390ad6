"""The complete pod specification of every task, literally."""

from __future__ import annotations

from typing import Any

import pytest
from kfp import components as kfp_components

from tests.helpers.packages import COMPILED, PACKAGES, TASKS, documents, tasks
from tests.manifests.policies import FIXED_IMAGE

every_task = pytest.mark.parametrize(
    ("package", "name"), [(package, name) for package, names in TASKS.items() for name in names]
)
# CPU cores, memory, /dev/shm (only of pods with two GPUs), timeout in seconds
PODS: dict[str, tuple[str, str, str | None, str]] = {
    "ingest": ("4", "8Gi", "1Gi", "21600"),
    "list-workers": ("1", "2Gi", None, "3600"),
    "preprocess": ("8", "16Gi", "4Gi", "43200"),
    "collect-shards": ("2", "8Gi", None, "7200"),
    "extract-features": ("8", "32Gi", "8Gi", "86400"),
    "fine-tune": ("8", "32Gi", "8Gi", "259200"),
    "evaluate": ("8", "16Gi", "8Gi", "43200"),
    "publish": ("1", "2Gi", None, "3600"),
    "list-cut-offs": ("2", "8Gi", None, "3600"),
    "choose-model": ("2", "8Gi", None, "3600"),
    "list-backbones": ("1", "2Gi", None, "3600"),
    "choose-backbone": ("2", "8Gi", None, "3600"),
    "list-search-workers": ("1", "2Gi", None, "3600"),
    "run-trials": ("8", "32Gi", "8Gi", "604800"),
    "choose-settings": ("8", "32Gi", "8Gi", "259200"),
    "train-super-resolution": ("8", "32Gi", "8Gi", "259200"),
    "evaluate-super-resolution": ("8", "16Gi", "8Gi", "43200"),
    "publish-super-resolution": ("1", "2Gi", None, "3600"),
}


def _variables(kind: str, name: str, **keys: str) -> dict[str, Any]:
    """Environment variables from an optional config map or secret."""
    field = {"configMap": "configMapKey", "secret": "secretKey"}[kind]
    return {
        f"{kind}Name": name,
        f"{kind}NameParameter": {"runtimeValue": {"constant": name}},
        "keyToEnv": [{field: key, "envVar": variable} for key, variable in keys.items()],
        "optional": True,
    }


@every_task
def test_pod_has_expected_platform_settings(package: str, name: str) -> None:
    _, _, shared_memory, seconds = PODS[name]
    writable = {"volumeName": "writable", "mountPath": "/tmp"}
    expected = {
        "activeDeadlineSeconds": seconds,
        "emptyDirMounts": [writable],
        "imagePullPolicy": "IfNotPresent",
        "podMetadata": {
            "labels": {"app.kubernetes.io/part-of": "radiograft", "app.kubernetes.io/component": name},
        },
        "securityContext": {"runAsUser": "10001", "runAsGroup": "10001", "runAsNonRoot": True},
        "configMapAsEnv": [
            _variables("configMap", "radiograft", AWS_ENDPOINT_URL="AWS_ENDPOINT_URL", AWS_REGION="AWS_REGION")
        ],
        "secretAsEnv": [
            _variables("secret", "radiograft-store", accesskey="AWS_ACCESS_KEY_ID", secretkey="AWS_SECRET_ACCESS_KEY"),
            _variables("secret", "radiograft-salt", salt="RADIOGRAFT_SALT"),
        ],
    }
    if name in ("ingest", "preprocess", "run-trials", "choose-settings"):  # which read the images
        keys = {name.lower(): f"RADIOGRAFT_DICOMWEB_{name}" for name in ("USER", "PASSWORD", "TOKEN")}
        expected["secretAsEnv"].insert(0, _variables("secret", "radiograft-pacs", **keys))
    if shared_memory:
        memory = {
            "volumeName": "shared-memory",
            "mountPath": "/dev/shm",
            "medium": "Memory",
            "sizeLimit": shared_memory,
        }
        expected["emptyDirMounts"] = [memory, writable]
        expected["tolerations"] = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert tasks(package)[name].pod == expected


@every_task
def test_container_has_expected_resources(package: str, name: str) -> None:
    cpu, memory, shared_memory, _ = PODS[name]
    resources = tasks(package)[name].container["resources"]
    expected = {
        "resourceCpuRequest": cpu,
        "resourceCpuLimit": cpu,
        "resourceMemoryRequest": memory,
        "resourceMemoryLimit": memory,
        "cpuRequest": float(cpu),
        "cpuLimit": float(cpu),
        "memoryRequest": int(memory.removesuffix("Gi")) * 2**30 / 1e9,
        "memoryLimit": int(memory.removesuffix("Gi")) * 2**30 / 1e9,
    }
    if shared_memory:
        expected["accelerator"] = {
            "count": "2",
            "type": "nvidia.com/gpu",
            "resourceCount": "2",
            "resourceType": "nvidia.com/gpu",
        }
    assert resources == expected


@pytest.mark.parametrize("package", PACKAGES)
def test_image_has_fixed_tag(package: str) -> None:
    """A release tag is not moved, unlike `latest`. Compiling and submitting warn that it could be."""
    images = {
        executor["container"]["image"] for executor in documents(package)[0]["deploymentSpec"]["executors"].values()
    }
    assert len(images) == 1
    assert FIXED_IMAGE.fullmatch(*images)


@pytest.mark.parametrize("package", PACKAGES)
def test_kfp_loads_package(package: str) -> None:
    loaded = kfp_components.load_component_from_file(str(COMPILED / f"{package}.yaml"))
    assert loaded.name == f"radiograft-{package.replace('_', '-')}"
    executors = loaded.platform_spec.platforms["kubernetes"].deployment_spec.executors
    assert sorted(executors) == sorted(f"exec-{name}" for name in TASKS[package])
