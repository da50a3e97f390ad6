"""`radiograft tensorboard` creates a Tensorboard resource if Kubeflow has the kind, else prints a command or opens
local logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import kfp_server_api as api
import pytest

from tests.helpers.kfp_double import KfpDouble
from tests.helpers.kubernetes_double import KubernetesDouble
from tests.unit.radiograft_pipelines.conftest import Radiograft

Cluster = Callable[..., KubernetesDouble]
URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
ROOT = "gs://artifacts/root"


@pytest.fixture
def run(radiograft: Radiograft, kfp: KfpDouble) -> api.V2beta1Run:
    """A run whose pipeline root is ROOT."""
    assert radiograft("submit", "--settings", "chestxray14", *URIS, "--pipeline-root", ROOT).exit_code == 0
    return next(iter(kfp.runs.values()))


def test_tensorboard_kubeflow_applies_resource(radiograft: Radiograft, run: api.V2beta1Run, cluster: Cluster) -> None:
    double = cluster()
    double.kinds.add("tensorboard.kubeflow.org/v1alpha1")
    for _ in range(2):  # the second call updates the resource
        result = radiograft("tensorboard", "--run", run.run_id, "--namespace", "alice")
        assert result.exit_code == 0, result.output
    (resource,) = double.objects
    assert resource["spec"] == {"logspath": f"{ROOT}/radiograft-transfer-learning/{run.run_id}"}
    assert (resource["metadata"]["name"], resource["metadata"]["namespace"]) == (f"radiograft-{run.run_id}", "alice")
    assert double.paths("PATCH", "POST") == [
        "/apis/tensorboard.kubeflow.org/v1alpha1/namespaces/alice/tensorboards",
        f"/apis/tensorboard.kubeflow.org/v1alpha1/namespaces/alice/tensorboards/radiograft-{run.run_id}",
    ]


def test_tensorboard_standalone_prints_command(radiograft: Radiograft, run: api.V2beta1Run, cluster: Cluster) -> None:
    cluster()
    logs = f"{ROOT}/radiograft-transfer-learning/{run.run_id}"
    assert radiograft("tensorboard", "--run", run.run_id).output == f"tensorboard --load_fast=false --logdir {logs}\n"


@pytest.mark.parametrize(
    ("manifests", "root"),
    [
        ((), "s3://mlpipeline/v2/artifacts"),
        (('{kind: ConfigMap, metadata: {name: kfp-launcher, namespace: kubeflow}, data: {defaultPipelineRoot: "gs://r/"}}',),
         "gs://r"),
    ],
)  # fmt: skip
def test_tensorboard_no_pipeline_root_uses_kfps(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, manifests: tuple[str, ...], root: str
) -> None:
    assert radiograft("submit", "--settings", "chestxray14", *URIS).exit_code == 0
    cluster(*manifests)
    (run_id,) = kfp.runs
    result = radiograft("tensorboard", "--run", run_id)
    assert result.stdout.endswith(f" --logdir {root}/radiograft-transfer-learning/{run_id}\n")
    assert result.stderr.startswith("TensorBoard cannot read s3:// if TensorFlow is") == root.startswith("s3://")


def test_tensorboard_run_without_pipeline_reports_error(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """Fails if the pipeline of a run is requested without checking that the run has one."""
    run = kfp.add_run(display_name="r", state="SUCCEEDED")
    result = radiograft("tensorboard", "--run", run.run_id)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: run {run.run_id} must be of an uploaded pipeline to have training curves, got a run without one\n"
    )


def test_tensorboard_no_local_run_reports_error(radiograft: Radiograft, tmp_path: Path) -> None:
    result = radiograft("tensorboard", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert result.output == f"Error: no finished run in {tmp_path}; create one with radiograft run --settings demo\n"


def test_tensorboard_local_opens_latest_logs(tmp_path: Path) -> None:
    (tmp_path / "latest" / "tensorboard").mkdir(parents=True)
    command = [
        sys.executable,
        "-m",
        "radiograft_pipelines.cli.main",
        "tensorboard",
        "--out",
        str(tmp_path),
        "--port",
        "0",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as server:
        assert server.stdout is not None
        try:
            line = next(line for line in server.stdout if "http://" in line)
            url = next(word for word in line.split() if word.startswith("http://"))
            with urllib.request.urlopen(url) as page:
                assert "TensorBoard" in page.read().decode()
        finally:
            os.killpg(server.pid, signal.SIGTERM)
