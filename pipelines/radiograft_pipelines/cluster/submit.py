"""From a package and settings to a run on KFP; what is there already is found, never created a second time."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiograft import storage
from radiograft.config.base import Scalar
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import TIMEOUTS, KfpClient, find_by_name
from radiograft_pipelines.cluster.package import CompiledPipeline
from radiograft_pipelines.settings import NOT_URIS, URI_SETTINGS


@dataclass(frozen=True)
class RunRequest:
    """What to run, as whom and where to: `experiment` by name, empty `pipeline_root` and `service_account`: KFP's."""

    package: CompiledPipeline
    values: Mapping[str, Scalar]
    experiment: str
    pipeline_root: str = ""
    service_account: str = ""


def check_uris(values: Mapping[str, Scalar]) -> None:
    """Refuses places that no pod can reach.

    Raises:
        ClusterError: a path of this machine, or the object store that only a local run has.
    """
    for name in URI_SETTINGS:
        place = str(values[name])
        if place in NOT_URIS:
            continue
        if not storage.is_bucket(place) or place.startswith(f"gs://{storage.EMBEDDED_BUCKET}"):
            raise ClusterError(f"{name} must be in a bucket that the cluster reaches, such as gs://..., got {place!r}")


def submit_run(server: KfpClient, order: RunRequest) -> Any:
    """Starts a run and returns it as KFP gives it (kfp_server_api.V2beta1Run).

    Raises:
        ClusterError: KFP cannot be reached or refuses.
    """
    from kfp_server_api import V2beta1Run

    label = f"{order.package.name} {secrets.token_hex(4)}"  # finds the run again when KFP's answer to it gets lost
    experiment_id = find_experiment(server, order.experiment)
    run = V2beta1Run(
        display_name=label,
        experiment_id=experiment_id,
        pipeline_version_reference=pipeline_reference(server, order.package),
        runtime_config=runtime_config(order),
        service_account=order.service_account or None,
    )

    def find() -> Any:
        found = server.runs.run_service_list_runs(
            experiment_id=experiment_id, filter=find_by_name(label), _request_timeout=TIMEOUTS
        )
        return (found.runs or [None])[0]

    return server.make_sure(
        f"the run {label!r}", find, lambda: server.runs.run_service_create_run(run=run, _request_timeout=TIMEOUTS)
    )


def runtime_config(order: RunRequest) -> Any:
    """The order's parameters as KFP takes them."""
    from kfp_server_api import V2beta1RuntimeConfig

    return V2beta1RuntimeConfig(parameters=dict(order.values), pipeline_root=order.pipeline_root or None)


def find_experiment(server: KfpClient, name: str) -> str:
    """The id of the experiment with this name, which is created where there is none."""
    from kfp_server_api import V2beta1Experiment

    service = server.experiments

    def find() -> Any:
        found = service.experiment_service_list_experiments(
            filter=find_by_name(name), namespace=server.scope, _request_timeout=TIMEOUTS
        )
        return (found.experiments or [None])[0]

    wanted = V2beta1Experiment(display_name=name, namespace=server.scope)
    made = server.make_sure(
        f"the experiment {name!r}",
        find,
        lambda: service.experiment_service_create_experiment(experiment=wanted, _request_timeout=TIMEOUTS),
    )
    return str(made.experiment_id)


def pipeline_reference(server: KfpClient, package: CompiledPipeline) -> Any:
    """The package's version on the server, uploaded where it is not there yet."""
    from kfp_server_api import V2beta1PipelineVersionReference

    pipeline_id = _pipeline(server, package)
    version_id = _version(server, pipeline_id, package)
    return V2beta1PipelineVersionReference(pipeline_id=pipeline_id, pipeline_version_id=version_id)


def _pipeline(server: KfpClient, package: CompiledPipeline) -> str:
    # Created empty: an upload would name its first version after the pipeline.
    from kfp_server_api import V2beta1Pipeline

    service = server.pipelines

    def find() -> Any:
        found = service.pipeline_service_list_pipelines(
            filter=find_by_name(package.name), namespace=server.scope, _request_timeout=TIMEOUTS
        )
        return (found.pipelines or [None])[0]

    wanted = V2beta1Pipeline(
        name=package.name, display_name=package.name, description=package.description, namespace=server.scope
    )
    made = server.make_sure(
        f"the pipeline {package.name!r}",
        find,
        lambda: service.pipeline_service_create_pipeline(pipeline=wanted, _request_timeout=TIMEOUTS),
    )
    return str(made.pipeline_id)


def _version(server: KfpClient, pipeline_id: str, package: CompiledPipeline) -> str:
    def find() -> Any:
        found = server.pipelines.pipeline_service_list_pipeline_versions(
            pipeline_id=pipeline_id, filter=find_by_name(package.version), _request_timeout=TIMEOUTS
        )
        return (found.pipeline_versions or [None])[0]

    def upload() -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{package.name}.yaml"
            path.write_text(package.text)
            return server.uploads.upload_pipeline_version(
                str(path), name=package.version, pipelineid=pipeline_id, _request_timeout=TIMEOUTS
            )

    made = server.make_sure(f"version {package.version!r} of {package.name}", find, upload)
    return str(made.pipeline_version_id)
