"""A real cluster: KFP 2.17 on Kubernetes with a node that offers two nvidia.com/gpu, and KFP's own S3 store.

Before: `make image TARGET=cpu`, and that image where the nodes find it (`kind load docker-image`, or a registry). Then
`KFP_ENDPOINT=http://localhost:8080 KUBECONFIG=~/.kube/config make test-cluster`. What runs need in the namespace is
applied by kubectl from kustomization.yaml where it is not there, and removed at the end. What else may be set:

- KFP_NAMESPACE: where runs live (kubeflow; apply the manifests there yourself), KFP_TOKEN: where KFP asks for one;
- RADIOGRAFT_TRAINER_IMAGE: the CPU image (radiograft/trainer:0.1.0-cpu, as `make image` calls it);
- RADIOGRAFT_TEST_BUCKET: a prefix that runs write below (s3://mlpipeline/radiograft-tests), and what they wrote stays;
- RADIOGRAFT_TEST_SERVICE_ACCOUNT: as whom pods run (radiograft, which the manifests make);
- AWS_ENDPOINT_URL and AWS's other variables: how this machine reaches that bucket (through kubectl, KFP's own store).
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
COMMAND_MINUTES = 45  # that a command may take, one that waits for a run included
Radiograft = Callable[..., Result]


@pytest.fixture(scope="session", autouse=True)
def cluster_is_given() -> None:
    """Skips everything here where no cluster is given."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        pytest.skip(f"{' and '.join(missing)} unset: no cluster to test on")


@pytest.fixture(scope="session")
def radiograft() -> Radiograft:
    """The command line."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"no end within {COMMAND_MINUTES} minutes"))

    def run(*arguments: str) -> Result:
        signal.alarm(COMMAND_MINUTES * 60)
        try:
            return CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        finally:
            signal.alarm(0)

    return run


@pytest.fixture(scope="session")
def server(cluster_is_given: None) -> kfp_client.KfpClient:
    """KFP."""
    return kfp_client.connect(os.environ["KFP_ENDPOINT"], os.environ.get("KFP_NAMESPACE", "kubeflow"))


@pytest.fixture(scope="session")
def kubernetes(cluster_is_given: None) -> kubernetes_client.KubernetesClient:
    """The cluster that KFP runs on."""
    return kubernetes_client.connect(os.environ.get("KFP_NAMESPACE", "kubeflow"))


@pytest.fixture(scope="session", autouse=True)
def what_runs_need(kubernetes: kubernetes_client.KubernetesClient) -> Iterator[None]:
    """Service account, role, config map and the like: applied where they are not there, and removed again then."""
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
    """The prefix that runs write below."""
    return os.environ.get("RADIOGRAFT_TEST_BUCKET", "s3://mlpipeline/radiograft-tests")


@pytest.fixture(scope="session", autouse=True)
def store_from_here(kubernetes: kubernetes_client.KubernetesClient, bucket: str) -> Iterator[None]:
    """Leads AWS's variables to KFP's own store through a tunnel, so that this machine reads the registry too.

    Without one, what looks into the registry is skipped.
    """
    if "AWS_ENDPOINT_URL" in os.environ or not bucket.startswith("s3://mlpipeline/") or not shutil.which("kubectl"):
        yield
        return
    secret = kubernetes.core.read_namespaced_secret(STORE_SECRET, kubernetes.namespace).data
    command = ["kubectl", "--namespace", kubernetes.namespace, "port-forward", f"service/{STORE}", ":9000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tunnel, pytest.MonkeyPatch.context() as patch:
        assert tunnel.stdout is not None
        if found := re.search(r"127\.0\.0\.1:(\d+)", tunnel.stdout.readline()):
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{found[1]}")
            patch.setenv("AWS_REGION", "us-east-1")
            patch.setenv("AWS_ACCESS_KEY_ID", base64.b64decode(secret["accesskey"]).decode())
            patch.setenv("AWS_SECRET_ACCESS_KEY", base64.b64decode(secret["secretkey"]).decode())
        yield
        tunnel.terminate()


@pytest.fixture(scope="session")
def model() -> str:
    """A name of a model that nobody has used yet."""
    return f"small-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def order(model: str, bucket: str) -> tuple[str, ...]:
    """The options of a small run."""
    return (
        *("--settings", str(FOLDER / "small.yaml"), "--cluster", str(FOLDER / "cluster.yaml")),
        *("--set", f"source={bucket}/{model}/phantom", "--set", f"registry={bucket}/registry"),
        *("--set", f"model_name={model}", "--experiment", "radiograft-tests"),
        *("--image", os.environ.get("RADIOGRAFT_TRAINER_IMAGE", "radiograft/trainer:0.1.0-cpu")),
        *("--service-account", os.environ.get("RADIOGRAFT_TEST_SERVICE_ACCOUNT", "radiograft")),
    )


@pytest.fixture(scope="session")
def waited(radiograft: Radiograft, order: tuple[str, ...]) -> Result:
    """What `radiograft submit --wait` did with the small run."""
    return radiograft("submit", *order, "--wait")


@pytest.fixture(scope="session")
def run_id(waited: Result) -> str:
    """The small run's id."""
    return run_id_in(waited)


def run_id_in(submitted: Result) -> str:
    """The id that `radiograft submit` printed."""
    found = re.search(r"^run: (\S+)$", submitted.stdout, re.MULTILINE)
    assert found, submitted.output
    return found[1]


@pytest.fixture
def started(
    server: kfp_client.KfpClient, radiograft: Radiograft, order: tuple[str, ...]
) -> Iterator[Callable[..., str]]:
    """Starts runs that are ended after the test."""
    run_ids: list[str] = []

    def start(*options: str) -> str:
        result = radiograft("submit", *order, *options)
        assert result.exit_code == 0, result.output
        run_ids.append(run_id_in(result))
        return run_ids[-1]

    yield start
    for each in run_ids:
        if server.runs.run_service_get_run(run_id=each).state in ("PENDING", "RUNNING"):
            server.runs.run_service_terminate_run(run_id=each)


def until(condition: Callable[[], bool], minutes: float) -> None:
    """Waits for a condition; fails when it does not come true in time."""
    end = time.monotonic() + 60 * minutes
    while not condition():
        assert time.monotonic() < end, f"not within {minutes} minutes"
        time.sleep(3)
