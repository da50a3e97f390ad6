"""A real cluster: KFP 2.17 on Kubernetes with a node that offers two nvidia.com/gpu, and KFP's own S3 store.

Before: `kubectl apply -k manifests/overlays/in-cluster-store`, and the CPU image where the nodes find it. Then
`KFP_ENDPOINT=http://localhost:8080 KUBECONFIG=~/.kube/config make test-cluster`. What else may be set:

- KFP_NAMESPACE: where runs live (kubeflow), KFP_TOKEN: where KFP asks for one;
- RADIOGRAFT_TRAINER_IMAGE: the CPU image (radiograft/trainer:0.1.0-cpu);
- RADIOGRAFT_TEST_BUCKET: a prefix that runs write below (s3://mlpipeline/radiograft-tests);
- RADIOGRAFT_TEST_SERVICE_ACCOUNT: as whom pods run (radiograft, which the manifests make).
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipelines.cli import main
from pipelines.cluster import kfp_server, kubernetes_api

FOLDER = Path(__file__).parent
NEEDED = ("KFP_ENDPOINT", "KUBECONFIG")
RUN_MINUTES = 45
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

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments), catch_exceptions=False)

    return run


@pytest.fixture(scope="session")
def server(cluster_is_given: None) -> kfp_server.KfpServer:
    """KFP."""
    return kfp_server.connect(os.environ["KFP_ENDPOINT"], os.environ.get("KFP_NAMESPACE", "kubeflow"))


@pytest.fixture(scope="session")
def kubernetes(cluster_is_given: None) -> kubernetes_api.Kubernetes:
    """The cluster that KFP runs on."""
    return kubernetes_api.connect(os.environ.get("KFP_NAMESPACE", "kubeflow"))


@pytest.fixture(scope="session")
def model() -> str:
    """A name of a model that nobody has used yet."""
    return f"small-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def order(model: str) -> tuple[str, ...]:
    """The options of a small run."""
    bucket = os.environ.get("RADIOGRAFT_TEST_BUCKET", "s3://mlpipeline/radiograft-tests")
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
    server: kfp_server.KfpServer, radiograft: Radiograft, order: tuple[str, ...]
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
