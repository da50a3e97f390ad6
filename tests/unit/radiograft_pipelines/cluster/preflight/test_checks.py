"""`radiograft doctor` reports each problem of a cluster with its remedy, and an exit code for scripts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.clusters import GOOD, KFP, RUNNER, kfp_deployment, node
from tests.helpers.http_double import Fault
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.unit.radiograft_pipelines.conftest import Radiograft

Cluster = Callable[..., KubernetesDouble]
DIGEST = "registry.example/trainer@sha256:" + "a" * 64
DOCTOR = ("doctor", "--image", DIGEST)
ON_GPUS = "✗ evaluate, extract-features, fine-tune, ingest, preprocess"


def test_doctor_complete_cluster_succeeds(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    result = radiograft(*DOCTOR)
    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if "127.0.0.1" not in line] == [
        "✓ every task's pod fits on one of 2 nodes",
        "✓ the nodes have enough free resources now for each of these pods",
        "✓ the quotas of namespace kubeflow admit every task's pod",
        "✓ namespace kubeflow has the service account 'pipeline-runner'",
        (
            "! a task is retried if its pod is deleted, but not if it exits with an error: it gets one attempt, and "
            "the run stands as running through the backoff (retryPolicy OnError of workflow-controller-configmap)"
        ),
        (
            "  → resume a failed run with radiograft retry, or set retryPolicy: Always in the config map "
            "workflow-controller-configmap"
        ),
        f"✓ the image is pinned by digest: {DIGEST}",
        "! the registry was not checked",
        "  → add --settings, and --set registry=gs://...",
    ]
    assert result.output.startswith("✓ KFP 2.17.0 is available at http://127.0.0.1:")


def test_doctor_missing_gpus_fails_with_remedy(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(node("small", "1"), RUNNER, KFP)
    result = radiograft(*DOCTOR)
    assert result.exit_code == 1
    assert ON_GPUS + ": no node has 2 allocatable nvidia.com/gpu; allocatable: small 1\n  → add a node with 2 GPUs" in (
        result.output
    )


def test_doctor_service_account_missing_is_reported(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster(*GOOD)
    assert "✗ namespace kubeflow has no service account 'trainer'" in (
        radiograft(*DOCTOR, "--service-account", "trainer").output
    )
    kfp.multi_user = True
    assert "✗ namespace kubeflow has no service account 'default-editor'" in radiograft(*DOCTOR).output


@pytest.mark.parametrize(
    ("image", "line", "code"),
    [
        ("ghcr.io/kubeflow/kfp-api-server:2.17.0", "✓ KFP 2.17.0 is available at ", 0),
        ("mirror:5000/kfp-api-server:2.5.0@sha256:00ff", "✗ KFP must be 2.15.0 or newer, got 2.5.0", 1),
        ("mirror:5000/kfp-api-server", "! http", 0),
    ],
)
def test_doctor_kfp_version_is_read_from_image(
    radiograft: Radiograft, cluster: Cluster, image: str, line: str, code: int
) -> None:
    cluster(node("gpu-1", "2"), RUNNER, kfp_deployment(image))
    result = radiograft(*DOCTOR)
    assert result.output.startswith(line)
    assert result.exit_code == code


def test_doctor_kfp_version_prefers_reported_release(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster(node("gpu-1", "2"), RUNNER, kfp_deployment("x:2.5.0"))
    kfp.health = {"apiServerTagName": "2.17.2"}
    assert radiograft(*DOCTOR).output.startswith("✓ KFP 2.17.2 is available at ")


def test_doctor_image_by_tag_is_warning(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    result = radiograft("doctor", "--image", "registry.example/trainer:1.0")
    assert "! the image registry.example/trainer:1.0 is not pinned by digest" in result.output
    assert result.exit_code == 0


def test_doctor_kfp_unreachable_still_checks_cluster(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    result = radiograft(*DOCTOR, "--host", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.output.startswith("✗ http://127.0.0.1:1 cannot be reached")
    assert "✓ every task's pod fits on one of 2 nodes" in result.output


def test_doctor_no_kubeconfig_still_checks_kfp(radiograft: Radiograft) -> None:
    result = radiograft(*DOCTOR)
    assert result.exit_code == 1
    assert result.output.startswith("✗ no usable kubeconfig found (")
    assert f"✓ the image is pinned by digest: {DIGEST}" in result.output


NO_AUTHORITY = """\
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://k.example", certificate-authority-data: "a"}}]
users: [{name: u, user: {token: t}}]
"""


@pytest.mark.parametrize("content", ["a: [", "[]", "7", "clusters: 5", NO_AUTHORITY, NO_AUTHORITY.replace('"a"', "5")])
def test_doctor_malformed_kubeconfig_still_checks_kfp(
    radiograft: Radiograft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """Fails if `_load` does not catch an error of YAML, base64 or the client, which would abort doctor."""
    (tmp_path / "malformed").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "malformed"))
    result = radiograft(*DOCTOR)
    assert result.exit_code == 1
    first, *_ = result.output.splitlines()
    assert first.startswith("✗ no usable kubeconfig found (")
    assert first.endswith("); set KUBECONFIG, or log in to the cluster first")
    assert f"✓ the image is pinned by digest: {DIGEST}" in result.output


def test_doctor_nodes_denied_is_warning(radiograft: Radiograft, cluster: Cluster) -> None:
    double = cluster(*GOOD)
    double.denied = {"nodes"}
    result = radiograft(*DOCTOR)
    assert result.exit_code == 0
    assert f"! not checked: Kubernetes at {double.url} denies access to nodes (403)" in result.output


def test_doctor_pods_of_all_namespaces_denied_still_checks_capacity(radiograft: Radiograft, cluster: Cluster) -> None:
    double = cluster(*GOOD)
    double.denied = {"pods"}
    result = radiograft(*DOCTOR)
    assert result.exit_code == 0
    assert "✓ every task's pod fits on one of 2 nodes" in result.output
    denied = f"Kubernetes at {double.url} denies access to the pods of all namespaces (403)"
    assert f"! free resources were not checked: {denied}" in result.output
    assert "  → doctor needs the permission to list pods in all namespaces for it" in result.output


def test_doctor_controller_config_of_other_namespace_is_read(radiograft: Radiograft, cluster: Cluster) -> None:
    """Fails if `doctor` reads the config map in the namespace of the runs instead of KFP's."""
    cluster(*GOOD)
    result = radiograft(*DOCTOR, "--namespace", "team", "--kfp-namespace", "kubeflow")
    assert "! a task is retried if its pod is deleted, but not if it exits with an error" in result.output


def test_doctor_kubernetes_error_is_warning(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD).faults = [Fault("GET", "/api/v1/nodes", 500)]
    result = radiograft(*DOCTOR)
    assert "! not checked: http://127.0.0.1:" in result.output
    assert "returned 500 for nodes" in result.output


def test_doctor_settings_given_checks_registry(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    uris = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
    result = radiograft(*DOCTOR, "--settings", "chestxray14", *uris)
    assert result.exit_code == 1
    assert "✗ the registry gs://models/registry is not writable" in result.output
