"""`radiograft tensorboard`: a Tensorboard resource where Kubeflow has the kind, else the command, or the local logs."""

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
from tests.unit.radiograft_pipelines.cluster.conftest import Radiograft

Cluster = Callable[..., KubernetesDouble]
PLACES = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
ROOT = "gs://artifacts/root"


@pytest.fixture
def run(radiograft: Radiograft, kfp: KfpDouble) -> api.V2beta1Run:
    """A run whose artifacts lie below ROOT."""
    assert radiograft("submit", "--settings", "chestxray14", *PLACES, "--pipeline-root", ROOT).exit_code == 0
    return next(iter(kfp.runs.values()))


def test_where_kubeflow_has_the_kind_a_resource_is_applied(
    radiograft: Radiograft, run: api.V2beta1Run, cluster: Cluster
) -> None:
    double = cluster()
    double.kinds.add("tensorboard.kubeflow.org/v1alpha1")
    for _ in range(2):  # the second time it is changed, not made
        result = radiograft("tensorboard", "--run", run.run_id, "--namespace", "alice")
        assert result.exit_code == 0, result.output
    (made,) = double.objects
    assert made["spec"] == {"logspath": f"{ROOT}/radiograft-transfer-learning/{run.run_id}"}
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == (f"radiograft-{run.run_id}", "alice")
    assert double.methods("PATCH", "POST") == [
        "/apis/tensorboard.kubeflow.org/v1alpha1/namespaces/alice/tensorboards",
        f"/apis/tensorboard.kubeflow.org/v1alpha1/namespaces/alice/tensorboards/radiograft-{run.run_id}",
    ]


def test_elsewhere_the_command_is_printed(radiograft: Radiograft, run: api.V2beta1Run, cluster: Cluster) -> None:
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
def test_a_run_without_a_root_has_kfps(
    radiograft: Radiograft, kfp: KfpDouble, cluster: Cluster, manifests: tuple[str, ...], root: str
) -> None:
    assert radiograft("submit", "--settings", "chestxray14", *PLACES).exit_code == 0
    cluster(*manifests)
    (run_id,) = kfp.runs
    result = radiograft("tensorboard", "--run", run_id)
    assert result.stdout.endswith(f" --logdir {root}/radiograft-transfer-learning/{run_id}\n")
    assert result.stderr.startswith("TensorBoard cannot read s3:// if TensorFlow is") == root.startswith(
        "s3://"
    )


def test_a_run_of_no_pipeline_is_told(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """Fails where the run's pipeline is asked for without a look whether it has one: a run of a bare specification."""
    made = kfp.add_run(display_name="r", state="SUCCEEDED")
    result = radiograft("tensorboard", "--run", made.run_id)
    assert result.exit_code == 1
    assert result.output == (
        f"Error: a run with training curves must be of an uploaded pipeline, and run {made.run_id} is of none\n"
    )


def test_without_a_local_run_it_is_said(radiograft: Radiograft, tmp_path: Path) -> None:
    result = radiograft("tensorboard", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert result.output == f"Error: there is no finished run in {tmp_path}: radiograft run --settings demo makes one\n"


def test_the_latest_local_logs_are_opened(tmp_path: Path) -> None:
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
