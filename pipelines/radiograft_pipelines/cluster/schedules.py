"""Schedules: exactly one recurring run of KFP a name, without catch-up, one run at a time."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, NamedTuple

from radiograft_pipelines.cluster import submit
from radiograft_pipelines.cluster.cron import Cron
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import PAGE, TIMEOUTS, KfpClient, find_by_name

MARK = "radiograft schedule "  # begins the description of every recurring run that is ours; a fingerprint follows


class ScheduleResult(NamedTuple):
    """What `schedule` did to a recurring run; a paused one that was replaced stays paused."""

    recurring_run_id: str
    change: Literal["created", "replaced", "unchanged"]
    paused: bool


def create_schedule(server: KfpClient, name: str, order: submit.RunRequest, cron: Cron) -> ScheduleResult:
    """Makes sure that exactly one recurring run has this name, and that it does what the order says.

    The new one is created before the old ones go, so that a failure in between never leaves none; the next call
    clears up what such a failure left.

    Raises:
        ClusterError: KFP cannot be reached or refuses.
    """
    reference = submit.pipeline_reference(server, order.package)
    experiment_id = submit.find_experiment(server, order.experiment)
    description = MARK + _fingerprint(order, cron, reference, experiment_id)
    before = _of(server, name)
    paused = bool(before) and all(each.status == "DISABLED" for each in before)
    wanted = _recurring_run(name, description, order, cron, reference, experiment_id, paused)

    def find() -> Any:
        return next((each for each in _list(server, name) if each.description == description), None)

    kept = server.make_sure(
        f"the schedule {name!r}",
        find,
        lambda: server.schedules.recurring_run_service_create_recurring_run(
            recurring_run=wanted, _request_timeout=TIMEOUTS
        ),
    )
    others = [each for each in _of(server, name) if each.recurring_run_id != kept.recurring_run_id]
    for other in others:
        _apply_action(server, "delete", name, other)
    was_there = any(each.recurring_run_id == kept.recurring_run_id for each in before)
    change: Any = "unchanged" if was_there else "replaced" if before else "created"
    return ScheduleResult(kept.recurring_run_id, change, paused)


def update_schedule(server: KfpClient, action: Literal["enable", "disable", "delete"], name: str) -> None:
    """Resumes, pauses or removes the schedule with this name.

    Raises:
        ClusterError: there is none, or KFP cannot be reached or refuses.
    """
    found = _of(server, name)
    if not found:
        known = ", ".join(sorted({each.display_name for each in list_schedules(server)})) or "none"
        raise ClusterError(f"there is no schedule {name!r}; there are: {known}")
    for each in found:
        _apply_action(server, action, name, each)


def list_schedules(server: KfpClient) -> list[Any]:
    """All recurring runs that `schedule` made (kfp_server_api.V2beta1RecurringRun)."""
    service = server.schedules
    everything = server.pages(
        "the list of schedules",
        service.recurring_run_service_list_recurring_runs,
        "recurring_runs",
        namespace=server.scope,
    )
    return [each for each in everything if (each.description or "").startswith(MARK)]


def _of(server: KfpClient, name: str) -> list[Any]:
    return server.make_sure(f"the schedule {name!r}", lambda: None, lambda: _list(server, name))


def _list(server: KfpClient, name: str) -> list[Any]:
    found = server.schedules.recurring_run_service_list_recurring_runs(
        filter=find_by_name(name), namespace=server.scope, page_size=PAGE, _request_timeout=TIMEOUTS
    )
    strangers = [each for each in found.recurring_runs or [] if not (each.description or "").startswith(MARK)]
    if strangers:
        raise ClusterError(
            f"KFP has a recurring run {name!r} that `radiograft schedule` did not make; choose another name, or delete "
            f"{strangers[0].recurring_run_id} in the UI"
        )
    return list(found.recurring_runs or [])


def _apply_action(server: KfpClient, action: str, name: str, recurring_run: Any) -> None:
    method = getattr(server.schedules, f"recurring_run_service_{action}_recurring_run")
    server.call(f"the schedule {name!r}", method, recurring_run_id=recurring_run.recurring_run_id)


def _recurring_run(
    name: str, description: str, order: submit.RunRequest, cron: Cron, reference: Any, experiment_id: str, paused: bool
) -> Any:
    import kfp_server_api as api

    return api.V2beta1RecurringRun(
        display_name=name,
        description=description,
        pipeline_version_reference=reference,
        runtime_config=submit.runtime_config(order),
        service_account=order.service_account or None,
        experiment_id=experiment_id,
        trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=cron.text)),
        mode=api.RecurringRunMode.DISABLE if paused else api.RecurringRunMode.ENABLE,
        max_concurrency="1",
        no_catchup=True,
    )


def _fingerprint(order: submit.RunRequest, cron: Cron, reference: Any, experiment_id: str) -> str:
    """Of all that a schedule does. The server's own copy would not do: it fills in what was left out."""
    facts = [
        cron.text,
        reference.pipeline_version_id,
        experiment_id,
        dict(order.values),
        order.pipeline_root,
        order.service_account,
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
