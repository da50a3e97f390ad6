"""Schedules: exactly one recurring run of KFP per name, without catch-up, and one run at a time."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, NamedTuple

from radiograft_pipelines.cluster import submit
from radiograft_pipelines.cluster.cron import Cron
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import PAGE, TIMEOUTS, KfpClient, find_by_name

MARK = "radiograft schedule "  # description of every recurring run created here, followed by a fingerprint


class ScheduleResult(NamedTuple):
    """What `create_schedule` did. If the schedule it replaced was paused, the new one is paused too."""

    recurring_run_id: str
    change: Literal["created", "replaced", "unchanged"]
    paused: bool


def create_schedule(server: KfpClient, name: str, request: submit.RunRequest, cron: Cron) -> ScheduleResult:
    """Creates or replaces the recurring run of this name.

    The new recurring run is created before the old ones are deleted, so that a failure in between leaves at least one.
    The next call deletes what such a failure left over.

    Raises:
        ClusterError: KFP cannot be reached, or rejects a request.
    """
    reference = submit.pipeline_reference(server, request.package)
    experiment_id = submit.find_experiment(server, request.experiment)
    description = MARK + _fingerprint(request, cron, reference, experiment_id)
    before = _find_all(server, name)
    paused = bool(before) and all(schedule.status == "DISABLED" for schedule in before)
    new = _recurring_run(name, description, request, cron, reference, experiment_id, paused)

    def find() -> Any:
        return next((schedule for schedule in _list(server, name) if schedule.description == description), None)

    kept = server.find_or_create(
        f"the schedule {name!r}",
        find,
        lambda: server.schedules.recurring_run_service_create_recurring_run(
            recurring_run=new, _request_timeout=TIMEOUTS
        ),
    )
    for schedule in _find_all(server, name):
        if schedule.recurring_run_id != kept.recurring_run_id:
            _apply_action(server, "delete", name, schedule)
    existed = any(schedule.recurring_run_id == kept.recurring_run_id for schedule in before)
    change: Any = "unchanged" if existed else "replaced" if before else "created"
    return ScheduleResult(kept.recurring_run_id, change, paused)


def update_schedule(server: KfpClient, action: Literal["enable", "disable", "delete"], name: str) -> None:
    """Resumes, pauses or deletes the schedule with this name.

    Raises:
        ClusterError: the schedule does not exist, or KFP cannot be reached or rejects a request.
    """
    schedules = _find_all(server, name)
    if not schedules:
        names = sorted({schedule.display_name for schedule in list_schedules(server)})
        raise ClusterError(f"schedule {name!r} does not exist; existing schedules: {', '.join(names) or 'none'}")
    for schedule in schedules:
        _apply_action(server, action, name, schedule)


def list_schedules(server: KfpClient) -> list[Any]:
    """Returns all recurring runs that `create_schedule` created (kfp_server_api.V2beta1RecurringRun)."""
    service = server.schedules
    schedules = server.iter_items(
        "the list of schedules",
        service.recurring_run_service_list_recurring_runs,
        "recurring_runs",
        namespace=server.scope,
    )
    return [schedule for schedule in schedules if _is_ours(schedule)]


def _find_all(server: KfpClient, name: str) -> list[Any]:
    """As `_list`, with retries."""
    return server.find_or_create(f"the schedule {name!r}", lambda: None, lambda: _list(server, name))


def _list(server: KfpClient, name: str) -> list[Any]:
    response = server.schedules.recurring_run_service_list_recurring_runs(
        filter=find_by_name(name), namespace=server.scope, page_size=PAGE, _request_timeout=TIMEOUTS
    )
    schedules = list(response.recurring_runs or [])
    for schedule in schedules:
        if not _is_ours(schedule):
            raise ClusterError(
                f"KFP has a recurring run {name!r} that was not created by `radiograft schedule`; choose another name, "
                f"or delete {schedule.recurring_run_id} in the UI"
            )
    return schedules


def _is_ours(schedule: Any) -> bool:
    return (schedule.description or "").startswith(MARK)


def _apply_action(server: KfpClient, action: str, name: str, schedule: Any) -> None:
    method = getattr(server.schedules, f"recurring_run_service_{action}_recurring_run")
    server.call(f"the schedule {name!r}", method, recurring_run_id=schedule.recurring_run_id)


def _recurring_run(
    name: str,
    description: str,
    request: submit.RunRequest,
    cron: Cron,
    reference: Any,
    experiment_id: str,
    paused: bool,
) -> Any:
    import kfp_server_api as api

    return api.V2beta1RecurringRun(
        display_name=name,
        description=description,
        pipeline_version_reference=reference,
        runtime_config=submit.runtime_config(request),
        service_account=request.service_account or None,
        experiment_id=experiment_id,
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron.text)),
        mode=api.RecurringRunMode.DISABLE if paused else api.RecurringRunMode.ENABLE,
        max_concurrency="1",
        no_catchup=True,
    )


def _fingerprint(request: submit.RunRequest, cron: Cron, reference: Any, experiment_id: str) -> str:
    """Hashes all properties of a schedule. The server's copy cannot be compared: it fills in omitted fields."""
    properties = [
        cron.text,
        reference.pipeline_version_id,
        experiment_id,
        dict(request.values),
        request.pipeline_root,
        request.service_account,
    ]
    return hashlib.sha256(json.dumps(properties, sort_keys=True).encode()).hexdigest()[:16]
