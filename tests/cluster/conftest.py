"""Fixtures for tests on a real cluster: KFP 2.17, a node with two nvidia.com/gpu, and KFP's own S3 store.

First run `make image TARGET=cpu` and make the image available to the nodes (`kind load docker-image`, or a registry).
Then run `KFP_ENDPOINT=http://localhost:8080 KUBECONFIG=~/.kube/config make test-cluster`. If the namespace lacks what
runs require, kubectl applies kustomization.yaml and deletes it at the end. The tests can be repeated: each session has
model, data, registry and experiment of its own, and archives the experiment with its runs at the end. What a test needs
besides stands in its docstring. Optional variables, with their defaults:

- KFP_NAMESPACE: namespace of the runs (kubeflow; apply the manifests to any other yourself);
- KFP_TOKEN: token, if KFP requires one;
- RADIOGRAFT_TRAINER_IMAGE: the CPU image (radiograft/trainer:0.1.0-cpu, which `make image` builds);
- RADIOGRAFT_TEST_BUCKET: URI prefix of data and registry, which are deleted at the end (s3://mlpipeline/radiograft-tests);
- RADIOGRAFT_TEST_MODEL_REGISTRY: URL of a Kubeflow Model Registry that pods reach; without one its test is skipped;
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
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from radiograft import storage
from radiograft_pipelines.cli.main import main
from radiograft_pipelines.cluster import kfp_client, kubernetes_client

FOLDER = Path(__file__).parent
CLUSTER_FILE = FOLDER / "cluster.yaml"
IMAGE = os.environ.get("RADIOGRAFT_TRAINER_IMAGE", "radiograft/trainer:0.1.0-cpu")
NEEDED = ("KFP_ENDPOINT", "KUBECONFIG")
MODEL_REGISTRY = os.environ.get("RADIOGRAFT_TEST_MODEL_REGISTRY", "")
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
def model(bucket: str, store_port_forward: None) -> Iterator[str]:
    """A new model name. The data and the registry of its runs are deleted at the end."""
    name = f"small-{secrets.token_hex(4)}"
    yield name
    try:
        storage.delete_tree(f"{bucket}/{name}")
    except OSError as error:
        warnings.warn(f"{bucket}/{name} is left over: {error}", stacklevel=1)


@pytest.fixture(scope="session")
def registry_root(bucket: str, model: str) -> str:
    """The URI of the registry of this session's runs."""
    return f"{bucket}/{model}/registry"


@pytest.fixture(scope="session")
def readable_registry(registry_root: str) -> str:
    """As `registry_root`. Skips the test if this machine cannot read it."""
    try:
        list(storage.list_files(registry_root))
    except OSError as error:
        pytest.skip(f"{registry_root} cannot be read from this machine: {error}")
    return registry_root


@pytest.fixture(scope="session")
def experiment(server: kfp_client.KfpClient, model: str) -> Iterator[str]:
    """The name of an experiment, which is archived with its runs at the end."""
    name = f"radiograft-tests-{model}"
    yield name
    found = server.experiments.experiment_service_list_experiments(
        filter=kfp_client.find_by_name(name), namespace=server.scope
    )
    for each in found.experiments or ():
        server.experiments.experiment_service_archive_experiment(experiment_id=each.experiment_id)


@pytest.fixture(scope="session")
def run_options(model: str, bucket: str, registry_root: str, experiment: str) -> tuple[str, ...]:
    """The options of a small run."""
    return (
        *("--settings", str(FOLDER / "small.yaml"), "--cluster", str(CLUSTER_FILE)),
        *("--set", f"source={bucket}/{model}/phantom", "--set", f"registry={registry_root}"),
        *("--set", f"model_name={model}", "--experiment", experiment),
        *(("--set", f"publish_model_registry={MODEL_REGISTRY}") if MODEL_REGISTRY else ()),
        *("--image", IMAGE),
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
        terminate(server, run_id)


def terminate(server: kfp_client.KfpClient, run_id: str) -> None:
    """Terminates a run, unless it has ended."""
    if state_of(server, run_id) in ("PENDING", "RUNNING"):
        server.runs.run_service_terminate_run(run_id=run_id)


def state_of(server: kfp_client.KfpClient, run_id: str) -> str:
    """Returns the state of a run in KFP's terms."""
    return str(server.runs.run_service_get_run(run_id=run_id).state)


def listed_row(radiograft: Radiograft, run_id: str) -> str:
    """Returns the row of a run in the output of `radiograft runs`."""
    output = radiograft("runs", "--limit", "200").stdout
    rows = [line for line in output.splitlines() if line.startswith(run_id)]
    assert len(rows) == 1, output
    return rows[0]


def listed_state(radiograft: Radiograft, run_id: str) -> str:
    """Returns the state of a run in the output of `radiograft runs`, after its ID, date and time."""
    return listed_row(radiograft, run_id).split()[3]


def wait_until(condition: Callable[[], bool], minutes: float) -> None:
    """Waits until a condition holds, and fails after the timeout."""
    end = time.monotonic() + 60 * minutes
    while not condition():
        assert time.monotonic() < end, f"the condition did not hold within {minutes} minutes"
        time.sleep(3)
