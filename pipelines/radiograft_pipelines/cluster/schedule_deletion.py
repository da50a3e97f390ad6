"""Deletes recurring runs of KFP without stopping the runs that they started.

The Workflow of a scheduled run belongs to its recurring run. Kubernetes deletes it, with its pods, when the recurring
run is deleted. KFP then reports the run as running, or canceling, forever: it can be neither retried nor terminated.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any, Literal

from radiograft_pipelines.cluster.kfp_client import KfpClient
from radiograft_pipelines.cluster.watch import ENDED

Unfinished = Literal["keep", "wait", "now"]


def unfinished_runs(server: KfpClient, schedules: Sequence[Any]) -> list[Any]:
    """Returns the runs (kfp_server_api.V2beta1Run) that recurring runs have started, and that have not ended."""
    return [run for schedule in schedules for run in _runs_of(server, schedule) if run.state not in ENDED]


def delete_schedules(server: KfpClient, schedules: Sequence[Any], unfinished: Unfinished, interval: float) -> list[Any]:
    """Disables recurring runs, and deletes those without an unfinished run.

    Args:
        schedules: kfp_server_api.V2beta1RecurringRun.
        unfinished: what happens to a recurring run with an unfinished run: `keep` leaves it disabled, `wait` waits
            until the run has ended, `now` deletes it, and with it the work of its run.
        interval: polling interval in seconds while waiting.

    Returns:
        The unfinished runs, whose recurring runs were kept, or were deleted if `unfinished` is `now`.

    Raises:
        ClusterError: KFP cannot be reached, or rejects a request.
    """
    for schedule in schedules:
        if schedule.status != "DISABLED":
            apply_action(server, "disable", schedule)
    runs = unfinished_runs(server, schedules)
    while runs and unfinished == "wait":
        time.sleep(interval)
        runs = unfinished_runs(server, schedules)
    busy = set() if unfinished == "now" else {run.recurring_run_id for run in runs}
    for schedule in schedules:
        if schedule.recurring_run_id not in busy:
            apply_action(server, "delete", schedule)
    return runs


def apply_action(server: KfpClient, action: Literal["enable", "disable", "delete"], schedule: Any) -> None:
    """Enables, disables or deletes a recurring run."""
    method = getattr(server.schedules, f"recurring_run_service_{action}_recurring_run")
    server.call(f"the schedule {schedule.display_name!r}", method, recurring_run_id=schedule.recurring_run_id)


def _runs_of(server: KfpClient, schedule: Any) -> list[Any]:
    """Returns the runs that a recurring run has started, except archived ones."""
    newest_first = server.iter_items(
        f"the runs of the schedule {schedule.display_name!r}",
        server.runs.run_service_list_runs,
        "runs",
        experiment_id=schedule.experiment_id,
        sort_by="created_at desc",
    )
    since = itertools.takewhile(lambda run: run.created_at >= schedule.created_at, newest_first)
    own = (run for run in since if run.recurring_run_id == schedule.recurring_run_id)
    return [run for run in own if run.storage_state != "ARCHIVED"]
