"""Submits runs to KFP. Pipelines, versions and experiments that already exist are reused."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiograft import storage
from radiograft.config.base import Scalar
from radiograft.config.resolution import fill_form
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import TIMEOUTS, KfpClient, find_by_name
from radiograft_pipelines.cluster.package import CompiledPipeline
from radiograft_pipelines.settings import NOT_URIS, URI_SETTINGS


@dataclass(frozen=True)
class RunRequest:
    """What to run, and how.

    Attributes:
        package: the compiled pipeline.
        values: settings of all stages by name.
        experiment: name of the experiment.
        pipeline_root: URI prefix of the artifacts; empty for KFP's default.
        service_account: service account of the pods; empty for KFP's default.
        settings: name of the preset or settings file that the values come from, for descriptions.
    """

    package: CompiledPipeline
    values: Mapping[str, Scalar]
    experiment: str
    pipeline_root: str = ""
    service_account: str = ""
    settings: str = ""


def check_uris(values: Mapping[str, Scalar]) -> None:
    """Checks that all URIs can be reached from the cluster.

    Raises:
        ClusterError: a URI is a local path, or in the embedded object store of local runs.
    """
    for name in URI_SETTINGS:
        uri = str(values[name])
        if uri in NOT_URIS:
            continue
        if not storage.is_remote(uri) or uri.startswith(f"gs://{storage.EMBEDDED_BUCKET}"):
            raise ClusterError(f"{name} must be in a bucket that the cluster can reach, such as gs://..., got {uri!r}")


def submit_run(server: KfpClient, request: RunRequest) -> Any:
    """Starts a run and returns it (kfp_server_api.V2beta1Run).

    Raises:
        ClusterError: KFP cannot be reached, or rejects a request.
    """
    from kfp_server_api import V2beta1Run

    name = f"{request.package.name} {secrets.token_hex(4)}"  # unique: a retry finds the run if a response was lost
    experiment_id = find_experiment(server, request.experiment)
    run = V2beta1Run(
        display_name=name,
        experiment_id=experiment_id,
        pipeline_version_reference=pipeline_reference(server, request.package),
        runtime_config=runtime_config(request),
        service_account=request.service_account or None,
    )

    def find() -> Any:
        response = server.runs.run_service_list_runs(
            experiment_id=experiment_id, filter=find_by_name(name), _request_timeout=TIMEOUTS
        )
        return (response.runs or [None])[0]

    return server.find_or_create(
        f"the run {name!r}", find, lambda: server.runs.run_service_create_run(run=run, _request_timeout=TIMEOUTS)
    )


def runtime_config(request: RunRequest) -> Any:
    """Returns the fields of the run form and the pipeline root (kfp_server_api.V2beta1RuntimeConfig)."""
    from kfp_server_api import V2beta1RuntimeConfig

    return V2beta1RuntimeConfig(parameters=fill_form(request.values), pipeline_root=request.pipeline_root or None)


def find_experiment(server: KfpClient, name: str) -> str:
    """Returns the ID of the experiment with this name. Creates the experiment if it does not exist."""
    from kfp_server_api import V2beta1Experiment

    service = server.experiments

    def find() -> Any:
        response = service.experiment_service_list_experiments(
            filter=find_by_name(name), namespace=server.scope, _request_timeout=TIMEOUTS
        )
        return (response.experiments or [None])[0]

    new = V2beta1Experiment(display_name=name, namespace=server.scope)
    experiment = server.find_or_create(
        f"the experiment {name!r}",
        find,
        lambda: service.experiment_service_create_experiment(experiment=new, _request_timeout=TIMEOUTS),
    )
    return str(experiment.experiment_id)


def pipeline_reference(server: KfpClient, package: CompiledPipeline) -> Any:
    """Returns the reference to the package's version on the server. Uploads the version if it does not exist."""
    from kfp_server_api import V2beta1PipelineVersionReference

    pipeline_id = _find_pipeline(server, package)
    version_id = _find_version(server, pipeline_id, package)
    return V2beta1PipelineVersionReference(pipeline_id=pipeline_id, pipeline_version_id=version_id)


def _find_pipeline(server: KfpClient, package: CompiledPipeline) -> str:
    # The pipeline is created empty: an upload would name its first version after the pipeline.
    from kfp_server_api import V2beta1Pipeline

    service = server.pipelines

    def find() -> Any:
        response = service.pipeline_service_list_pipelines(
            filter=find_by_name(package.name), namespace=server.scope, _request_timeout=TIMEOUTS
        )
        return (response.pipelines or [None])[0]

    new = V2beta1Pipeline(
        name=package.name, display_name=package.name, description=package.description, namespace=server.scope
    )
    pipeline = server.find_or_create(
        f"the pipeline {package.name!r}",
        find,
        lambda: service.pipeline_service_create_pipeline(pipeline=new, _request_timeout=TIMEOUTS),
    )
    return str(pipeline.pipeline_id)


def _find_version(server: KfpClient, pipeline_id: str, package: CompiledPipeline) -> str:
    def find() -> Any:
        response = server.pipelines.pipeline_service_list_pipeline_versions(
            pipeline_id=pipeline_id, filter=find_by_name(package.version), _request_timeout=TIMEOUTS
        )
        return (response.pipeline_versions or [None])[0]

    def upload() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{package.name}.yaml"
            path.write_text(package.text)
            return server.uploads.upload_pipeline_version(
                str(path), name=package.version, pipelineid=pipeline_id, _request_timeout=TIMEOUTS
            )

    version = server.find_or_create(f"version {package.version!r} of {package.name}", find, upload)
    return str(version.pipeline_version_id)
