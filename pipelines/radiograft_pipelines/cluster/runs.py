"""The runs of our pipelines on a server: the list, and trying one again."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import TIMEOUTS, KfpServer, named
from radiograft_pipelines.cluster.watch import ENDED, read


def latest(server: KfpServer, names: list[str], most: int) -> list[Any]:
    """The newest runs (kfp_server_api.V2beta1Run) of the pipelines with these names, at most `most`.

    Raises:
        ClusterError: KFP cannot be reached or refuses.
    """
    ours = {pipeline.pipeline_id for name in names for pipeline in _pipelines(server, name)}
    return list(itertools.islice((run for run in _all(server) if pipeline_of(run) in ours), most))


def pipeline_of(run: Any) -> str | None:
    """The id of a run's pipeline; none of a run that was made of a specification of its own."""
    return run.pipeline_version_reference.pipeline_id if run.pipeline_version_reference else None


def retry(server: KfpServer, run_id: str) -> None:
    """Lets a run go on where it failed: what succeeded is not run again, and training goes on from its checkpoint.

    Raises:
        ClusterError: there is no such run, or it has not failed.
    """
    state = read(server, run_id).state
    if state not in ("FAILED", "CANCELED"):
        raise ClusterError(f"a run to retry must be FAILED or CANCELED, got {state} for {run_id}")

    def find() -> Any:
        run = server.runs.run_service_get_run(run_id=run_id, _request_timeout=TIMEOUTS)
        return run if run.state not in ENDED else None

    server.make_sure(
        f"run {run_id}", find, lambda: server.runs.run_service_retry_run(run_id=run_id, _request_timeout=TIMEOUTS)
    )


def _all(server: KfpServer) -> Iterator[Any]:
    return server.pages(
        "the list of runs",
        server.runs.run_service_list_runs,
        "runs",
        namespace=server.scope,
        sort_by="created_at desc",
    )


def _pipelines(server: KfpServer, name: str) -> list[Any]:
    found = server.call(
        f"the pipeline {name!r}",
        server.pipelines.pipeline_service_list_pipelines,
        filter=named(name),
        namespace=server.scope,
    )
    return list(found.pipelines or [])
