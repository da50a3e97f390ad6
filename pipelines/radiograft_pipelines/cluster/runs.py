"""The runs of our pipelines on a server: the list, and trying one again."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from radiograft import storage
from radiograft.config import DATA_CHANGED
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.registry.version_claims import Claim
from radiograft.utils import json_io
from radiograft_pipelines.cluster import watch
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import TIMEOUTS, KfpClient, find_by_name
from radiograft_pipelines.cluster.watch import ENDED, read_run


def latest_run(server: KfpClient, names: list[str], most: int) -> list[Any]:
    """The newest runs (kfp_server_api.V2beta1Run) of the pipelines with these names, at most `most`.

    Raises:
        ClusterError: KFP cannot be reached or refuses.
    """
    ours = {pipeline.pipeline_id for name in names for pipeline in _pipelines(server, name)}
    return list(itertools.islice((run for run in _all(server) if pipeline_of(run) in ours), most))


def pipeline_of(run: Any) -> str | None:
    """The id of a run's pipeline; none of a run that was made of a specification of its own."""
    return run.pipeline_version_reference.pipeline_id if run.pipeline_version_reference else None


def retry_run(server: KfpClient, run_id: str) -> None:
    """Lets a run go on where it failed: what succeeded is not run again, and training goes on from its checkpoint.

    Raises:
        ClusterError: there is no such run, or it has not failed.
    """
    state = read_run(server, run_id).state
    if state not in ("FAILED", "CANCELED"):
        raise ClusterError(f"a run to retry must be FAILED or CANCELED, got {state} for {run_id}")

    def find() -> Any:
        run = server.runs.run_service_get_run(run_id=run_id, _request_timeout=TIMEOUTS)
        return run if run.state not in ENDED else None

    server.make_sure(
        f"run {run_id}", find, lambda: server.runs.run_service_retry_run(run_id=run_id, _request_timeout=TIMEOUTS)
    )


def _all(server: KfpClient) -> Iterator[Any]:
    return server.pages(
        "the list of runs",
        server.runs.run_service_list_runs,
        "runs",
        namespace=server.scope,
        sort_by="created_at desc",
    )


def _pipelines(server: KfpClient, name: str) -> list[Any]:
    found = server.call(
        f"the pipeline {name!r}",
        server.pipelines.pipeline_service_list_pipelines,
        filter=find_by_name(name),
        namespace=server.scope,
    )
    return list(found.pipelines or [])


class RunResult(NamedTuple):
    """A version, whether it is in production now, and its AUROC on test, 0 to 1, None where it is not estimable."""

    model: str
    version: int
    in_production: bool
    auroc: float | None

    def __str__(self) -> str:
        return f"{self.model} {self.version} ({'production' if self.in_production else 'candidate'})"


def run_result(run: Any) -> RunResult | None:
    """What a run (kfp_server_api.V2beta1Run) published; None where it published nothing, or that cannot be read."""
    place, model, numbers = _registry_of(run)
    number = numbers.get(run.run_id)
    return None if number is None else _describe(place, model, number)


def skipped_unchanged(run: Any) -> bool:
    """Whether a run ended well after ingest, because nothing changed since an earlier version.

    KFP counts what it skips as a success. A list of runs tells no tasks; there, such a run claims no version.
    """
    if run.state != "SUCCEEDED" or _parameters(run).get("train_trigger") != DATA_CHANGED:
        return False
    began = {task.name for task in watch.task_states(run) if task.state not in ("PENDING", "SKIPPED")}
    numbers = _registry_of(run)[2]
    return began == {"ingest"} if began else bool(numbers) and run.run_id not in numbers


def _parameters(run: Any) -> dict[str, Any]:
    return (run.runtime_config.parameters if run.runtime_config else None) or {}


def _registry_of(run: Any) -> tuple[str, str, dict[str, int]]:
    """Registry and model of a run that ended well, and the versions there by run; none where they cannot be read."""
    place, model = (str(_parameters(run).get(name, "")) for name in ("publish_registry", "publish_model_name"))
    known = run.state == "SUCCEEDED" and model and storage.is_bucket(place)
    return place, model, _numbers(place, model) if known else {}


@functools.cache
def _numbers(place: str, model: str) -> dict[str, int]:
    """The version that each run claimed; empty where the registry cannot be read from here."""
    try:
        claims = [
            Claim(**json.loads(storage.read_bytes(entry.uri)))
            for entry in registry.files_below(storage.join(place, model, "claims"))
        ]
        return {claim.run_id: claim.number for claim in claims}
    except Exception:  # no credentials, no route, no right, no claim: a list of runs does without
        return {}


def _describe(place: str, model: str, number: int) -> RunResult | None:
    name = storage.join(place, model, str(number), registry.EXTRA_ASSETS, "metrics.json")
    try:
        current = production.read_production(place, model)
        facts = json_io.parse_json_object(storage.read_bytes(name), name)
        auroc = facts["metrics"][facts["published"]]["test"]["mean"]["auroc"]["value"]
        in_production = current is not None and current.version == number
        return RunResult(model, number, in_production, None if auroc is None else float(auroc))
    except (FileNotFoundError, LookupError, TypeError, ValueError):
        return None  # claimed, but never completed, or by another package
