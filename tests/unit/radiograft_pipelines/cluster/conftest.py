"""The doubles of KFP and Kubernetes, and the command line beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from radiograft_pipelines.cli.main import main
from tests.helpers.http_double import served
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.kubernetes_double import KubernetesDouble

IMAGE = "registry.example/trainer@sha256:" + "a" * 64
Radiograft = Callable[..., Result]


@pytest.fixture
def kfp() -> Iterator[KfpDouble]:
    """KFP, empty."""
    with served(KfpDouble()) as double:
        yield double  # type: ignore[misc]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., KubernetesDouble]]:
    """Serves a cluster of these manifests, to which KUBECONFIG leads then."""
    with ExitStack() as stack:

        def of(*manifests: str) -> KubernetesDouble:
            double = KubernetesDouble(*manifests)
            stack.enter_context(served(double))
            monkeypatch.setenv("KUBECONFIG", double.kubeconfig(tmp_path / "kubeconfig"))
            return double

        yield of


@pytest.fixture
def radiograft(kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Radiograft:
    """The command line with KFP_ENDPOINT set, no token, and no kubeconfig unless `cluster` makes one."""
    monkeypatch.setenv("KFP_ENDPOINT", kfp.url)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    for variable in ("KFP_TOKEN", "KFP_NAMESPACE", "KF_PIPELINES_UI_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)

    monkeypatch.setenv("RADIOGRAFT_TRAINER_IMAGE", IMAGE)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none"))  # no bucket out there is asked

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments), catch_exceptions=False)

    return run
