"""Fixtures: doubles of KFP and Kubernetes, and the command line connected to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from radiograft_pipelines.cli.main import main
from tests.helpers.http_double import serve
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.kubernetes_double import KubernetesDouble

IMAGE = "registry.example/trainer@sha256:" + "a" * 64
Radiograft = Callable[..., Result]


@pytest.fixture
def kfp() -> Iterator[KfpDouble]:
    """A double of KFP without pipelines or runs."""
    with serve(KfpDouble()) as double:
        yield double  # type: ignore[misc]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., KubernetesDouble]]:
    """A function that serves a cluster with the given manifests and sets KUBECONFIG to it."""
    with ExitStack() as stack:

        def serve_cluster(*manifests: str) -> KubernetesDouble:
            double = KubernetesDouble(*manifests)
            stack.enter_context(serve(double))
            monkeypatch.setenv("KUBECONFIG", double.kubeconfig(tmp_path / "kubeconfig"))
            return double

        yield serve_cluster


@pytest.fixture
def radiograft(kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Radiograft:
    """The command line with KFP_ENDPOINT set, no token, and no kubeconfig unless `cluster` writes one."""
    monkeypatch.setenv("KFP_ENDPOINT", kfp.url)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    for variable in ("KFP_TOKEN", "KFP_NAMESPACE", "KF_PIPELINES_UI_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)

    monkeypatch.setenv("RADIOGRAFT_TRAINER_IMAGE", IMAGE)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none"))  # no real bucket is accessed

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, list(arguments), catch_exceptions=False)

    return run
