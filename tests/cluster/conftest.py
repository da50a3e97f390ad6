"""Fixtures for tests on a real cluster: KFP 2.17, a node with two nvidia.com/gpu, and KFP's own S3 store.

First run `make image TARGET=cpu` and make the image available to the nodes (`kind load docker-image`, or a registry).
Then run `KFP_ENDPOINT=http://localhost:8080 KUBECONFIG=~/.kube/config make test-cluster`. If the namespace lacks what
runs require, kubectl applies kustomization.yaml and deletes it at the end. Optional variables, with their defaults:

- KFP_NAMESPACE: namespace of the runs (kubeflow; apply the manifests to any other yourself);
- KFP_TOKEN: token, if KFP requires one;
- RADIOGRAFT_TRAINER_IMAGE: the CPU image (radiograft/trainer:0.1.0-cpu, which `make image` builds);
- RADIOGRAFT_TEST_BUCKET: URI prefix of the runs' output, which is kept (s3://mlpipeline/radiograft-tests);
- RADIOGRAFT_TEST_SERVICE_ACCOUNT: service account of the pods (radiograft, which the manifests create);
- AWS_ENDPOINT_URL and AWS's other variables: access to the bucket from this machine (KFP's own store, by kubectl).
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from radiograft_pipelines.cli.main import main
from radiograft_pipelines.cluster import kfp_client, kubernetes_client

FOLDER = Path(__file__).parent
NEEDED = ("KFP_ENDPOINT", "KUBECONFIG")
STORE, STORE_SECRET = "seaweedfs", "mlpipeline-minio-artifact"  # KFP's own
COMMAND_MINUTES = 45  # timeout of a command, including one that waits for a run
Radiograft = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def require_cluster() -> None:
    """Skips all tests if no cluster is configured."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} unset: no cluster to test on")


@pytest.fixture(scope="session")
def radiograft() -> Radiograft:
    """The command line."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"the command did not end within {COMMAND_MINUTES} minutes"))

    def run(*arguments: str) -> Result:
        signal.alarm(COMMAND_MINUTES * 60)
        try:
            return CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        finally:
            signal.alarm(0)

    return run


@pytest.fixture(scope="session")
def server(require_cluster: None) -> kfp_client.KfpClient:
    """The client for KFP."""
    return kfp_client.connect(os.environ["KFP_ENDPOINT"], os.environ.get("KFP_NAMESPACE", "kubeflow"))


@pytest.fixture(scope="session")
def kubernetes(require_cluster: None) -> kubernetes_client.KubernetesClient:
    """The client for the cluster that KFP runs on."""
    return kubernetes_client.connect(os.environ.get("KFP_NAMESPACE", "kubeflow"))


@pytest.fixture(scope="session", autouse=True)
def applied_manifests(kubernetes: kubernetes_client.KubernetesClient) -> Iterator[None]:
    """Applies the manifests that runs require, if they are missing, and deletes them at the end."""
    try:
        kubernetes.call("config map", kubernetes.core.read_namespaced_config_map, "radiograft", kubernetes.namespace)
    except LookupError:
        if shutil.which("kubectl") is None or kubernetes.namespace != "kubeflow":
            pytest.skip(f"apply manifests/overlays/in-cluster-store to the namespace {kubernetes.namespace} first")
        subprocess.run(["kubectl", "apply", "--kustomize", str(FOLDER)], check=True)
        yield
        subprocess.run(["kubectl", "delete", "--kustomize", str(FOLDER), "--wait=false"], check=True)
    else:
        yield


@pytest.fixture(scope="session")
def bucket() -> str:
    """The URI prefix of the runs' output."""
    return os.environ.get("RADIOGRAFT_TEST_BUCKET", "s3://mlpipeline/radiograft-tests")


@pytest.fixture(scope="session", autouse=True)
def store_port_forward(kubernetes: kubernetes_client.KubernetesClient, bucket: str) -> Iterator[None]:
    """Forwards a port to KFP's own store and sets AWS's variables to it, so that this machine can read the registry.

    Without access to the store, the tests that read the registry are skipped.
    """
    if "AWS_ENDPOINT_URL" in os.environ or not bucket.startswith("s3://mlpipeline/") or not shutil.which("kubectl"):
        yield
        return
    secret = kubernetes.core.read_namespaced_secret(STORE_SECRET, kubernetes.namespace).data
    command = ["kubectl", "--namespace", kubernetes.namespace, "port-forward", f"service/{STORE}", ":9000"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as port_forward,
        pytest.MonkeyPatch.context() as patch,
    ):
        assert port_forward.stdout is not None
        if match := re.search(r"127\.0\.0\.1:(\d+)", port_forward.stdout.readline()):
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{match[1]}")
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_ACCESS_KEY_ID", base64.b64decode(secret["accesskey"]).decode())
            patch.setenv("AWS_SECRET_ACCESS_KEY", base64.b64decode(secret["secretkey"]).decode())
        yield
        port_forward.terminate()


@pytest.fixture(scope="session")
def model() -> str:
    """A new model name."""
    return f"small-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def run_options(model: str, bucket: str) -> tuple[str, ...]:
    """The options of a small run."""
    return (
        *("--settings", str(FOLDER / "small.yaml"), "--cluster", str(FOLDER / "cluster.yaml")),
        *("--set", f"source={bucket}/{model}/phantom", "--set", f"registry={bucket}/registry"),
        *("--set", f"model_name={model}", "--experiment", "radiograft-tests"),
        *("--image", os.environ.get("RADIOGRAFT_TRAINER_IMAGE", "radiograft/trainer:0.1.0-cpu")),
        *("--service-account", os.environ.get("RADIOGRAFT_TEST_SERVICE_ACCOUNT", "radiograft")),
    )


@pytest.fixture(scope="session")
def waited(radiograft: Radiograft, run_options: tuple[str, ...]) -> Result:
    """The result of `radiograft submit --wait` for the small run."""
    return radiograft("submit", *run_options, "--wait")


@pytest.fixture(scope="session")
def run_id(waited: Result) -> str:
    """The ID of the small run."""
    return run_id_in(waited)


def run_id_in(submitted: Result) -> str:
    """Extracts the run ID that `radiograft submit` printed."""
    match = re.search(r"^run: (\S+)$", submitted.stdout, re.MULTILINE)
    assert match, submitted.output
    return match[1]


@pytest.fixture
def started(
    server: kfp_client.KfpClient, radiograft: Radiograft, run_options: tuple[str, ...]
) -> Iterator[Callable[..., str]]:
    """A function that submits runs, which are terminated after the test."""
    run_ids: list[str] = []

    def start(*options: str) -> str:
        result = radiograft("submit", *run_options, *options)
        assert result.exit_code == 0, result.output
        run_ids.append(run_id_in(result))
        return run_ids[-1]

    yield start
    for run_id in run_ids:
        if server.runs.run_service_get_run(run_id=run_id).state in ("PENDING", "RUNNING"):
            server.runs.run_service_terminate_run(run_id=run_id)


def wait_until(condition: Callable[[], bool], minutes: float) -> None:
    """Waits until a condition holds, and fails after the timeout."""
    end = time.monotonic() + 60 * minutes
    while not condition():
        assert time.monotonic() < end, f"the condition did not hold within {minutes} minutes"
        time.sleep(3)
