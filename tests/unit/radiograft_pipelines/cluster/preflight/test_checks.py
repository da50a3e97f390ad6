"""`radiograft doctor`: every lack of a cluster with its remedy, and an exit code for scripts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from radiograft import storage
from radiograft.storage import s3 as s3_store
from radiograft_pipelines.cluster.preflight.checks import check_registry
from tests.helpers.clusters import GOOD, KFP, RUNNER, kfp_deployment, node
from tests.helpers.http_double import Fault
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.unit.radiograft_pipelines.conftest import Radiograft

Cluster = Callable[..., KubernetesDouble]
DIGEST = "registry.example/trainer@sha256:" + "a" * 64
DOCTOR = ("doctor", "--image", DIGEST)
ON_GPUS = "✗ ingest, evaluate, extract-features, fine-tune, preprocess"


def test_a_cluster_that_has_everything_is_told_to_be_well(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    result = radiograft(*DOCTOR)
    assert result.exit_code == 0, result.output
    assert [line for line in result.output.splitlines() if "127.0.0.1" not in line] == [
        "✓ every task's pod fits on one of 2 nodes",
        "✓ the quotas of namespace kubeflow leave room for every task",
        "✓ namespace kubeflow has the service account 'pipeline-runner'",
        f"✓ the image is named by digest: {DIGEST}",
        "! the registry was not tried",
        "  → give --settings, and --set registry=gs://...",
    ]
    assert result.output.startswith("✓ KFP 2.17.0 answers at http://127.0.0.1:")


def test_a_lack_is_told_with_its_remedy_and_exit_code_1(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(node("small", "1"), RUNNER, KFP)
    result = radiograft(*DOCTOR)
    assert result.exit_code == 1
    assert ON_GPUS + ": no node has 2 allocatable nvidia.com/gpu; there are: small 1\n  → add a node with 2 GPUs" in (
        result.output
    )


def test_another_service_account_is_looked_for(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster(*GOOD)
    assert "✗ namespace kubeflow has no service account 'trainer'" in (
        radiograft(*DOCTOR, "--service-account", "trainer").output
    )
    kfp.multi_user = True
    assert "✗ namespace kubeflow has no service account 'default-editor'" in radiograft(*DOCTOR).output


@pytest.mark.parametrize(
    ("image", "line", "code"),
    [
        ("ghcr.io/kubeflow/kfp-api-server:2.17.0", "✓ KFP 2.17.0 answers at ", 0),
        ("mirror:5000/kfp-api-server:2.5.0@sha256:00ff", "✗ KFP must be 2.15.0 or newer, got 2.5.0", 1),
        ("mirror:5000/kfp-api-server", "! http", 0),
    ],
)
def test_kfps_release_is_read_from_its_image(
    radiograft: Radiograft, cluster: Cluster, image: str, line: str, code: int
) -> None:
    cluster(node("gpu-1", "2"), RUNNER, kfp_deployment(image))
    result = radiograft(*DOCTOR)
    assert result.output.startswith(line)
    assert result.exit_code == code


def test_kfps_own_word_for_its_release_counts_first(radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster) -> None:
    cluster(node("gpu-1", "2"), RUNNER, kfp_deployment("x:2.5.0"))
    kfp.health = {"apiServerTagName": "2.17.2"}
    assert radiograft(*DOCTOR).output.startswith("✓ KFP 2.17.2 answers at ")


def test_an_image_by_tag_is_a_warning_only(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    result = radiograft("doctor", "--image", "registry.example/trainer:1.0")
    assert "! the image registry.example/trainer:1.0 is named by a tag" in result.output
    assert result.exit_code == 0


def test_without_kfp_the_cluster_is_examined_all_the_same(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    result = radiograft(*DOCTOR, "--host", "http://127.0.0.1:1")
    assert result.exit_code == 1
    assert result.output.startswith("✗ http://127.0.0.1:1 cannot be reached")
    assert "✓ every task's pod fits on one of 2 nodes" in result.output


def test_without_a_kubeconfig_kfp_is_examined_all_the_same(radiograft: Radiograft) -> None:
    result = radiograft(*DOCTOR)
    assert result.exit_code == 1
    assert result.output.startswith("✗ there is no usable kubeconfig (")
    assert f"✓ the image is named by digest: {DIGEST}" in result.output


NO_AUTHORITY = """\
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://k.example", certificate-authority-data: "a"}}]
users: [{name: u, user: {token: t}}]
"""


@pytest.mark.parametrize("content", ["a: [", "[]", "7", "clusters: 5", NO_AUTHORITY, NO_AUTHORITY.replace('"a"', "5")])
def test_a_malformed_kubeconfig_is_a_finding_beside_the_others(
    radiograft: Radiograft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    """Fails where `_load` lets an error of YAML, base64 or the client's own through, which ends doctor."""
    (tmp_path / "malformed").write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "malformed"))
    result = radiograft(*DOCTOR)
    assert result.exit_code == 1
    first, *_ = result.output.splitlines()
    assert first.startswith("✗ there is no usable kubeconfig (")
    assert first.endswith("); set KUBECONFIG, or log in to the cluster first")
    assert f"✓ the image is named by digest: {DIGEST}" in result.output


def test_what_may_not_be_read_is_a_warning(radiograft: Radiograft, cluster: Cluster) -> None:
    double = cluster(*GOOD)
    double.denied = {"nodes"}
    result = radiograft(*DOCTOR)
    assert result.exit_code == 0
    assert f"! not checked: Kubernetes at {double.url} does not let you read nodes (403)" in result.output


def test_a_kubernetes_that_is_not_there_is_told(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD).faults = [Fault("GET", "/api/v1/nodes", 500)]
    result = radiograft(*DOCTOR)
    assert "! not checked: http://127.0.0.1:" in result.output
    assert "answered 500 to nodes" in result.output


def test_a_registry_that_compares_before_it_swaps_is_good(place: str) -> None:
    found = check_registry(place)
    assert (found.level, found.remedy) == ("good", "")
    assert found.what.startswith(f"the registry {place} is writable and compares before it swaps, with this machine's")


@pytest.fixture
def unconditional(s3: str) -> Iterator[str]:
    """A place in a store that does not know conditional writes, as SeaweedFS before 3.97, and writes all the same."""

    def unheard(request: Any, **_: object) -> None:
        for name in ("If-Match", "If-None-Match"):
            del request.headers[name]

    events = s3_store.client().meta.events
    events.register("before-sign.s3.PutObject", unheard)
    yield f"{s3}/{uuid.uuid4()}"
    events.unregister("before-sign.s3.PutObject", unheard)


def test_a_registry_without_compare_and_swap_is_bad(unconditional: str) -> None:
    found = check_registry(unconditional)
    assert (found.level, found.remedy) == (
        "bad",
        "use a store with conditional writes: gs://, or S3 with If-Match and If-None-Match",
    )
    assert found.what.startswith(f"the registry {unconditional} let a write through that was not up to date")
    assert list(storage.list_files(unconditional)) == []


def test_a_registry_that_cannot_be_written_is_bad(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("registry") / "file"
    file.write_text("no folder")
    found = check_registry(str(file))
    assert (found.level, found.remedy) == ("bad", "grant read, write and delete there")
    assert found.what.startswith(f"the registry {file} is not writable, with this machine's credentials")


def test_the_registry_of_the_settings_is_tried(radiograft: Radiograft, cluster: Cluster) -> None:
    cluster(*GOOD)
    places = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
    result = radiograft(*DOCTOR, "--settings", "chestxray14", *places)
    assert result.exit_code == 1
    assert "✗ the registry gs://models/registry is not writable" in result.output
