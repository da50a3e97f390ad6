"""Lists the runs of Radiograft's pipelines on KFP with their results, retries failed runs, and archives runs."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.registry.results import parse_results
from radiograft.registry.version_claims import Claim
from radiograft.utils import json_io
from radiograft_pipelines.cluster import watch
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import TIMEOUTS, KfpClient
from radiograft_pipelines.cluster.package import COMPILED, read_package
from radiograft_pipelines.cluster.watch import ENDED, read_run


def list_runs(server: KfpClient, limit: int | None = None, *, unfinished: bool = False) -> list[Any]:
    """Returns runs (kfp_server_api.V2beta1Run) of this package's pipelines, the newest first, without archived runs.

    A run is recognized by the pipeline's name in its package, because a user may upload a package under any name.

    Args:
        limit: maximum number of runs; None for all.
        unfinished: whether to return only runs that have not ended.

    Raises:
        ClusterError: KFP cannot be reached, or rejects a request.
    """
    own_names = {read_package(path.stem).name for path in COMPILED.glob("*.yaml")}
    name_of = functools.cache(functools.partial(_name_in_version, server))

    def is_listed(run: Any) -> bool:
        if run.storage_state == "ARCHIVED" or (unfinished and run.state in ENDED):
            return False
        if reference := run.pipeline_version_reference:
            return name_of(reference.pipeline_id, reference.pipeline_version_id) in own_names
        return _name_in(run.pipeline_spec) in own_names

    return list(itertools.islice(filter(is_listed, _all_runs(server)), limit))


def pipeline_of(run: Any) -> str | None:
    """Returns the ID of a run's pipeline; None for a run of a pipeline that was not uploaded."""
    return run.pipeline_version_reference.pipeline_id if run.pipeline_version_reference else None


def retry_run(server: KfpClient, run_id: str) -> None:
    """Retries a run from where it failed. Succeeded tasks are not repeated; training resumes from its checkpoint.

    Raises:
        ClusterError: the run does not exist, or has not failed.
    """
    state = read_run(server, run_id).state
    if state not in ("FAILED", "CANCELED"):
        raise ClusterError(f"a run to retry must be FAILED or CANCELED, got {state} for {run_id}")

    def find() -> Any:
        run = server.runs.run_service_get_run(run_id=run_id, _request_timeout=TIMEOUTS)
        return run if run.state not in ENDED else None

    server.find_or_create(
        f"run {run_id}", find, lambda: server.runs.run_service_retry_run(run_id=run_id, _request_timeout=TIMEOUTS)
    )


def archive_run(server: KfpClient, run_id: str) -> None:
    """Archives a run, which removes it from the list of runs. The UI can restore it."""
    server.call(f"run {run_id}", server.runs.run_service_archive_run, run_id=run_id)


def _all_runs(server: KfpClient) -> Iterator[Any]:
    return server.iter_items(
        "the list of runs",
        server.runs.run_service_list_runs,
        "runs",
        namespace=server.scope,
        sort_by="created_at desc",
    )


def _name_in_version(server: KfpClient, pipeline_id: str, version_id: str) -> str:
    """Returns the name in the package of a pipeline version; empty if the version was deleted."""
    try:
        version = server.call(
            f"version {version_id} of pipeline {pipeline_id}",
            server.pipelines.pipeline_service_get_pipeline_version,
            pipeline_id=pipeline_id,
            pipeline_version_id=version_id,
        )
    except ClusterError:
        return ""
    return _name_in(version.pipeline_spec)


def _name_in(package: dict[str, Any] | None) -> str:
    """Returns the pipeline's name in a package. KFP nests the specification if there is one for the platform too."""
    spec = (package or {}).get("pipeline_spec", package or {})
    return str(spec.get("pipelineInfo", {}).get("name", ""))


class RunResult(NamedTuple):
    """The version that a run published.

    Attributes:
        model: name of the model.
        version: number of the version.
        in_production: whether it is the production version now.
        auroc: mean AUROC on the test split, 0 to 1; None if it is not estimable.
        r2: mean R² on the test split if the targets are numbers, else None.
    """

    model: str
    version: int
    in_production: bool
    auroc: float | None
    r2: float | None = None

    def __str__(self) -> str:
        return f"{self.model} {self.version} ({'production' if self.in_production else 'candidate'})"


def run_result(run: Any) -> RunResult | None:
    """Returns what a run (kfp_server_api.V2beta1Run) published; None if it published nothing or is unreadable."""
    root, model, numbers = _registry_of(run)
    number = numbers.get(run.run_id)
    return None if number is None else _read_result(root, model, number)


def skipped_unchanged(run: Any) -> bool:
    """Returns whether a run succeeded without training, because nothing changed since an earlier version.

    KFP reports a run whose tasks were skipped as succeeded. In a list of runs the tasks are missing; there, the run is
    recognized by not having claimed a version.
    """
    if run.state != "SUCCEEDED":
        return False
    started = {task.name for task in watch.task_states(run) if task.state not in ("PENDING", "SKIPPED")}
    if started:
        return started == {"ingest"}
    numbers = _registry_of(run)[2]
    return bool(numbers) and run.run_id not in numbers


def _parameters(run: Any) -> dict[str, Any]:
    return (run.runtime_config.parameters if run.runtime_config else None) or {}


def _registry_of(run: Any) -> tuple[str, str, dict[str, int]]:
    """Returns registry and model of a run, and the version numbers by run ID.

    The version numbers are empty if the run did not succeed or the registry cannot be read.
    """
    root, model = (str(_parameters(run).get(name, "")) for name in ("publish_registry", "publish_model_name"))
    readable = run.state == "SUCCEEDED" and model and storage.is_bucket(root)
    return root, model, _claimed_versions(root, model) if readable else {}


@functools.cache
def _claimed_versions(root: str, model: str) -> dict[str, int]:
    """Returns the version number that each run claimed; empty if the registry cannot be read from this machine."""
    try:
        claims = [
            Claim(**json.loads(storage.read_bytes(entry.uri)))
            for entry in registry.files_below(storage.join(root, model, "claims"))
        ]
        return {claim.run_id: claim.number for claim in claims}
    except Exception:  # missing credentials, network or permission, or a malformed claim: runs are listed without
        return {}


def _read_result(root: str, model: str, number: int) -> RunResult | None:
    name = storage.join(root, model, str(number), registry.EXTRA_ASSETS, "metrics.json")
    try:
        current = production.read_production(root, model)
        results = parse_results(json_io.parse_json_object(storage.read_bytes(name), name), name)
        test = results["metrics"][results["published"]]["test"]
        auroc, r2 = test["mean"]["auroc"]["value"], test["regression"]["r2"]["value"] if "regression" in test else None
        in_production = current is not None and current.version == number
        return RunResult(model, number, in_production, *(None if each is None else float(each) for each in (auroc, r2)))
    except (FileNotFoundError, LookupError, TypeError, ValueError):
        return None  # the version was never completed, or was written by another package
