"""What a small run leaves: a version, artifacts, metrics, TensorBoard logs, and an entry in a Model Registry."""

from __future__ import annotations

import os
import re

import pytest
from click.testing import Result

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft_pipelines.cluster import tensorboard, watch
from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.kubernetes_client import KubernetesClient
from tests.cluster.conftest import MODEL_REGISTRY, Radiograft
from tests.helpers.metadata_store import metrics_of_run

PIPELINE = "radiograft-transfer-learning"
DECIDING = {
    *("auroc_test", "auroc_test_low", "auroc_test_high", "accuracy_test", "majority_test", "gate_promoted", "version")
}
MAX_LETTERS, MAX_COMPARABLE = 20, 20  # of a column, and of the metrics in KFP's "Compare runs"


def test_registry_version_is_complete(waited: Result, readable_registry: str, model: str, run_id: str) -> None:
    """Needs the small run, and access to the store from this machine."""
    assert registry.list_versions(readable_registry, model) == [1]
    assert {"saved_model.pb", "assets.extra/metrics.json", "assets.extra/report.html"} <= (
        registry.verify_version(readable_registry, model, 1)["files"].keys()
    )
    current = production.read_production(readable_registry, model)
    assert current is not None
    assert (current.version, current.history[-1].run_id) == (1, run_id)


def test_artifacts_are_below_pipeline_root(
    server: KfpClient, kubernetes: KubernetesClient, run_id: str, readable_registry: str
) -> None:
    """Needs the small run, and a pipeline root in the same store as the registry."""
    root = tensorboard.run_logs_uri(watch.read_run(server, run_id), PIPELINE, kubernetes)
    parts = {part for entry in storage.list_files(root) for part in entry.name.split("/")}
    assert parts >= {
        *("catalog", "shards", "data_report", "features", "feature_model", "model", "evaluation", "report", "version")
    }


def test_tensorboard_logs_have_readable_names(waited: Result, readable_registry: str, model: str, run_id: str) -> None:
    """Needs the small run, and access to the store from this machine."""
    names = [entry.name for entry in storage.list_files(f"{readable_registry}/_tensorboard/{model}")]
    (run,) = {name.split("/")[0] for name in names}
    assert re.fullmatch(rf"\d{{4}}-\d\d-\d\d-{run_id[:8]}(-v1)?", run)
    assert "fine_tuning" in {name.split("/")[1] for name in names}


def test_metrics_that_decide_have_short_names(waited: Result, run_id: str) -> None:
    """Needs the small run, and KFP's UI at KFP_ENDPOINT, through which its metadata store is read."""
    metrics = metrics_of_run(os.environ["KFP_ENDPOINT"], run_id)
    if metrics is None:
        pytest.skip("KFP_ENDPOINT is not KFP's UI, or this KFP has no metadata store")
    assert metrics >= DECIDING
    assert max(map(len, metrics)) <= MAX_LETTERS
    assert len(metrics) <= MAX_COMPARABLE


def test_model_registry_has_version(waited: Result, radiograft: Radiograft, readable_registry: str, model: str) -> None:
    """Needs a Kubeflow Model Registry at RADIOGRAFT_TEST_MODEL_REGISTRY, which pods can reach."""
    if not MODEL_REGISTRY:
        pytest.skip("RADIOGRAFT_TEST_MODEL_REGISTRY is unset: no Model Registry to test on")
    shown = radiograft("models", "show", "1", "--registry", readable_registry, "--model", model).stdout
    assert f"{MODEL_REGISTRY.rstrip('/')}/api/model_registry/" in shown
