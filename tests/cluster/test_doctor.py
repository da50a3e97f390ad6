"""`radiograft doctor` on a real cluster."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from radiograft.storage import s3 as s3_store
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from radiograft_pipelines.cluster.preflight import free_resources, nodes
from radiograft_pipelines.cluster.preflight.retries import CONTROLLER
from tests.cluster.conftest import IMAGE, Radiograft, wait_until

GPU = "nvidia.com/gpu"
KFP_NAMESPACE = "kubeflow"


def test_doctor_small_run_passes(radiograft: Radiograft, run_options: tuple[str, ...]) -> None:
    """Needs KFP 2.17 and a node with two GPUs."""
    output = radiograft("doctor", *run_options).stdout
    assert "✓ KFP 2.17" in output
    assert "✓ every task's pod fits on one of " in output
    assert "has the service account 'radiograft'" in output


def test_doctor_registry_is_checked(
    radiograft: Radiograft, run_options: tuple[str, ...], readable_registry: str
) -> None:
    """Needs access to the store from this machine."""
    output = radiograft("doctor", *run_options).stdout
    (line,) = (line for line in output.splitlines() if f"the registry {readable_registry} " in line)
    # SeaweedFS supports conditional writes since 3.97; some releases of KFP ship an older one
    assert "is writable and supports conditional writes" in line or "accepted a conditional write against" in line


def test_doctor_without_credentials_names_port_forward(
    radiograft: Radiograft, run_options: tuple[str, ...], bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Needs a bucket in S3, such as KFP's own; no access to it."""
    if not bucket.startswith("s3://"):
        pytest.skip(f"{bucket} is not in S3")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_store.client.cache_clear()
    try:
        output = radiograft("doctor", *run_options).stdout
    finally:
        s3_store.client.cache_clear()
    (remedy,) = re.findall(r"no credentials for .*\n  → (.*)", output)
    assert "kubectl port-forward --namespace kubeflow svc/seaweedfs 9000" in remedy
    assert all(name in remedy for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))


def test_doctor_says_what_the_cluster_retries(
    radiograft: Radiograft, run_options: tuple[str, ...], kubernetes: KubernetesClient
) -> None:
    """Needs permission to read the config map of Argo's controller, whose policy is OnError in KFP's own manifests."""
    data = kubernetes.core.read_namespaced_config_map(CONTROLLER, KFP_NAMESPACE).data
    defaults = yaml.safe_load(data.get("workflowDefaults", "{}"))
    policy = (
        defaults.get("spec", {}).get("templateDefaults", {}).get("retryStrategy", {}).get("retryPolicy", "OnFailure")
    )
    output = radiograft("doctor", *run_options).stdout
    (line,) = (line for line in output.splitlines() if f"(retryPolicy {policy} of {CONTROLLER})" in line)
    if policy == "OnError":
        assert line.startswith("! a task is retried if its pod is deleted, but not if it exits with an error")


@pytest.fixture
def gpu_holder(kubernetes: KubernetesClient) -> Iterator[Callable[[], str]]:
    """A function that starts a pod that holds both GPUs and returns its name. The pod is deleted after the test."""
    core, name = kubernetes.core, "radiograft-test-gpu-holder"
    resources = {"requests": {"cpu": "10m", "memory": "16Mi", GPU: "2"}, "limits": {GPU: "2"}}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container: dict[str, Any] = {"name": "main", "image": IMAGE, "command": ["sleep", "600"]}
    container |= {"imagePullPolicy": "IfNotPresent", "resources": resources, "securityContext": security}
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}],
        "securityContext": {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }

    def start() -> str:
        core.create_namespaced_pod(kubernetes.namespace, {"metadata": {"name": name}, "spec": spec})
        return name

    yield start
    if any(pod.metadata.name == name for pod in core.list_namespaced_pod(kubernetes.namespace).items):
        core.delete_namespaced_pod(name, kubernetes.namespace, grace_period_seconds=0)


def test_doctor_gpus_in_use_is_warning(
    radiograft: Radiograft, run_options: tuple[str, ...], kubernetes: KubernetesClient, gpu_holder: Callable[[], str]
) -> None:
    """Needs exactly one node with GPUs, with two of them, and permission to list the pods of all namespaces."""
    gpus = {node.name: node.allocatable.get(GPU) for node in nodes.list_nodes(kubernetes)}
    if sorted(count for count in gpus.values() if count) != [2]:
        pytest.skip(f"the cluster must have one node with two GPUs, got {gpus}")
    name = gpu_holder()
    full_name = f"{kubernetes.namespace}/{name}"
    wait_until(lambda: full_name in {pod.name for pod in free_resources.list_bound_pods(kubernetes)}, minutes=10)
    result = radiograft("doctor", *run_options)
    assert f" has 0 of 2 {GPU}" in result.stdout
    assert f"the largest requests of {GPU}: {full_name} (2)" in result.stdout


def test_doctor_missing_resources_fail(radiograft: Radiograft, run_options: tuple[str, ...], tmp_path: Path) -> None:
    """Needs a cluster without a node of 64 GPUs."""
    file = tmp_path / "cluster.yaml"
    file.write_text("gpus: 64\nimage_pull_secrets: [no-such-secret]\n")
    result = radiograft("doctor", *run_options, "--cluster", str(file), "--service-account", "nobody")
    assert result.exit_code == 1
    assert ": no node has 64 allocatable nvidia.com/gpu; allocatable: " in result.stdout
    assert "has no secret 'no-such-secret'" in result.stdout
    assert "has no service account 'nobody'" in result.stdout


def test_doctor_kfp_unreachable_fails(radiograft: Radiograft, run_options: tuple[str, ...]) -> None:
    """Needs nothing but a kubeconfig."""
    result = radiograft("doctor", *run_options, "--host", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert "✗ http://127.0.0.1:1 cannot be reached" in result.stdout
