"""Packages in a real KFP: their graph, their description, their versions, and an upload by hand."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from radiograft_pipelines.cluster import watch
from radiograft_pipelines.cluster.kfp_client import KfpClient, find_by_name
from radiograft_pipelines.cluster.package import read_package
from tests.cluster.conftest import CLUSTER_FILE, IMAGE, Radiograft, listed_state, terminate

CODE = re.compile(r"`[^`\n]*`")
EMPHASIS = re.compile(r"\w+_\w+")  # as Markdown reads it


def _version_of(server: KfpClient, run_id: str) -> Any:
    reference = watch.read_run(server, run_id).pipeline_version_reference
    return server.pipelines.pipeline_service_get_pipeline_version(
        pipeline_id=reference.pipeline_id, pipeline_version_id=reference.pipeline_version_id
    )


def _root_tasks(version: Any) -> set[str]:
    """Returns the names that KFP's graph shows when a run is opened."""
    tasks = version.pipeline_spec["pipeline_spec"]["root"]["dag"]["tasks"]
    return {task["taskInfo"]["name"] for task in tasks.values()}


def test_graph_of_transfer_learning_shows_six_stages(waited: Result, run_id: str, server: KfpClient) -> None:
    """Needs the small run. Fails if a condition or a loop hides stages in KFP's first view."""
    assert _root_tasks(_version_of(server, run_id)) == {
        *("Ingest", "Preprocess", "Extract features", "Fine-tune", "Evaluate", "Publish")
    }


def test_graph_of_retraining_shows_ingest_and_nested_pipeline(server: KfpClient, started: Callable[..., str]) -> None:
    """Needs no free node: the run is terminated after the test."""
    version = _version_of(server, started("--pipeline", "retraining"))
    assert _root_tasks(version) == {"Ingest", "Train and publish"}


def test_description_has_every_underscore_in_code(waited: Result, run_id: str, server: KfpClient) -> None:
    """Needs the small run. KFP renders descriptions as Markdown, which takes bare underscores for emphasis."""
    spec = _version_of(server, run_id).pipeline_spec["pipeline_spec"]
    description = spec["pipelineInfo"]["description"]
    assert "`publish_model_name`" in description
    assert EMPHASIS.findall(CODE.sub("", description)) == []


def test_submit_other_model_uses_the_same_version(
    server: KfpClient, started: Callable[..., str], waited: Result, run_id: str
) -> None:
    """Needs the small run. Fails if the name of a model is part of the package, so that each makes a version."""
    version = _version_of(server, started("--set", f"model_name=other-{secrets.token_hex(4)}"))
    assert version.pipeline_version_id == _version_of(server, run_id).pipeline_version_id
    assert version.display_name == read_package("transfer_learning", IMAGE, CLUSTER_FILE).version
    same = server.pipelines.pipeline_service_list_pipeline_versions(
        pipeline_id=version.pipeline_id, filter=find_by_name(version.display_name)
    )
    assert len(same.pipeline_versions) == 1


@pytest.fixture
def uploaded_by_hand(server: KfpClient, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The IDs of a pipeline of another name, as a user uploads it in the UI, and of its version. Both are deleted."""
    name = f"by-hand-{secrets.token_hex(4)}"
    file = tmp_path / "package.yaml"
    file.write_text(read_package("transfer_learning", IMAGE, CLUSTER_FILE).text)
    pipeline = server.uploads.upload_pipeline(str(file), name=name, namespace=server.scope)
    service, pipeline_id = server.pipelines, pipeline.pipeline_id
    versions = service.pipeline_service_list_pipeline_versions(pipeline_id=pipeline_id).pipeline_versions
    yield pipeline_id, versions[0].pipeline_version_id
    for version in versions:
        service.pipeline_service_delete_pipeline_version(
            pipeline_id=pipeline_id, pipeline_version_id=version.pipeline_version_id
        )
    service.pipeline_service_delete_pipeline(pipeline_id=pipeline_id)


def test_runs_lists_run_of_package_uploaded_under_other_name(
    server: KfpClient, radiograft: Radiograft, uploaded_by_hand: tuple[str, str], waited: Result, run_id: str
) -> None:
    """Needs the small run, whose parameters, experiment and service account the run by hand takes."""
    from kfp_server_api import V2beta1PipelineVersionReference, V2beta1Run, V2beta1RuntimeConfig

    like = watch.read_run(server, run_id)
    pipeline_id, version_id = uploaded_by_hand
    run = V2beta1Run(
        display_name="started by hand",
        experiment_id=like.experiment_id,
        pipeline_version_reference=V2beta1PipelineVersionReference(
            pipeline_id=pipeline_id, pipeline_version_id=version_id
        ),
        runtime_config=V2beta1RuntimeConfig(parameters=like.runtime_config.parameters),
        service_account=like.service_account,
    )
    by_hand = server.runs.run_service_create_run(run=run).run_id
    try:
        assert listed_state(radiograft, by_hand) in ("pending", "running")
    finally:
        terminate(server, by_hand)
