"""Schedules: exactly one active recurring run of KFP per name, without catch-up, and one run at a time."""

from __future__ import annotations

import hashlib
import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from radiograft.config.resolution import RETRAINING
from radiograft_pipelines.cluster import submit
from radiograft_pipelines.cluster.cron import Cron
from radiograft_pipelines.cluster.errors import ClusterError
from radiograft_pipelines.cluster.kfp_client import PAGE, TIMEOUTS, KfpClient, find_by_name
from radiograft_pipelines.cluster.package import read_package
from radiograft_pipelines.cluster.schedule_deletion import Unfinished, apply_action, delete_schedules, unfinished_runs

MARK = re.compile(r"radiograft schedule [0-9a-f]{16}\)?$")  # ends the description of every recurring run created here
MAX_SENTENCE = 140  # characters; KFP stores descriptions of at most 191


class ScheduleResult(NamedTuple):
    """What `create_schedule` did.

    Attributes:
        recurring_run_id: the recurring run that is scheduled now.
        change: what happened to the schedule.
        paused: whether it is paused, as the schedule that it replaced.
        unfinished: unfinished runs of the schedule that it replaced.
    """

    recurring_run_id: str
    change: Literal["created", "replaced", "unchanged"]
    paused: bool
    unfinished: list[Any]


def create_schedule(
    server: KfpClient,
    name: str,
    request: submit.RunRequest,
    cron: Cron,
    unfinished: Unfinished = "keep",
    interval: float = 5.0,
) -> ScheduleResult:
    """Creates or replaces the recurring run of this name.

    The new recurring run is created before the old ones are disabled and deleted, so that a failure in between leaves
    at least one. An old one with an unfinished run stays disabled, because deleting it would stop the run. The next
    call deletes what is left over.

    Args:
        unfinished: as in `schedule_deletion.delete_schedules`, for runs of the recurring run that is replaced.
        interval: polling interval in seconds while waiting for these runs.

    Raises:
        ClusterError: KFP cannot be reached, or rejects a request.
    """
    reference = submit.pipeline_reference(server, request.package)
    experiment_id = submit.find_experiment(server, request.experiment)
    description = _describe(request, cron, _fingerprint(request, cron, reference, experiment_id))
    before = _find_all(server, name)
    replaced = [schedule.recurring_run_id for schedule in before[1:]]
    paused = bool(before) and before[0].status == "DISABLED"
    new = _recurring_run(name, description, request, cron, reference, experiment_id, paused)

    def find() -> Any:
        schedules = (each for each in _list(server, name) if each.recurring_run_id not in replaced)
        return next((schedule for schedule in schedules if schedule.description == description), None)

    kept = server.find_or_create(
        f"the schedule {name!r}",
        find,
        lambda: server.schedules.recurring_run_service_create_recurring_run(
            recurring_run=new, _request_timeout=TIMEOUTS
        ),
    )
    others = [schedule for schedule in _find_all(server, name) if schedule.recurring_run_id != kept.recurring_run_id]
    runs = delete_schedules(server, others, unfinished, interval)
    existed = bool(before) and before[0].recurring_run_id == kept.recurring_run_id
    change: Any = "unchanged" if existed else "replaced" if before else "created"
    return ScheduleResult(kept.recurring_run_id, change, paused, runs)


def switch_schedule(server: KfpClient, action: Literal["enable", "disable"], name: str) -> None:
    """Resumes or pauses the schedule with this name, and deletes what an earlier replacement left over.

    Raises:
        ClusterError: the schedule does not exist, or KFP cannot be reached or rejects a request.
    """
    current, *replaced = _require_all(server, name)
    apply_action(server, action, current)
    delete_schedules(server, replaced, "keep", 0.0)


def delete_schedule(server: KfpClient, name: str, unfinished: Unfinished = "keep", interval: float = 5.0) -> list[Any]:
    """Deletes the schedule with this name, and returns its unfinished runs, whose work is lost.

    Args:
        unfinished: as in `schedule_deletion.delete_schedules`, but `keep` refuses to delete the schedule.
        interval: polling interval in seconds while waiting for a run.

    Raises:
        ClusterError: the schedule does not exist, has an unfinished run that must be kept, or KFP cannot be reached or
            rejects a request.
    """
    schedules = _require_all(server, name)
    if unfinished == "keep" and (runs := unfinished_runs(server, schedules)):
        raise ClusterError(
            f"schedule {name!r} must not have an unfinished run to be deleted, got {runs[0].run_id} ({runs[0].state}): "
            "Kubernetes deletes the run's pods together with the schedule. Add --wait to delete the schedule once the "
            "run has ended, or --now to lose the run's work"
        )
    return delete_schedules(server, schedules, unfinished, interval)


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


def replaced_ids(schedules: Sequence[Any]) -> set[str]:
    """Returns the IDs of the recurring runs that a newer one of the same name has replaced."""
    oldest_first = sorted(schedules, key=_age, reverse=True)
    current = {schedule.display_name: schedule.recurring_run_id for schedule in oldest_first}
    return {schedule.recurring_run_id for schedule in schedules} - set(current.values())


def _require_all(server: KfpClient, name: str) -> list[Any]:
    """As `_find_all`, but raises if there is none."""
    schedules = _find_all(server, name)
    if not schedules:
        names = sorted({schedule.display_name for schedule in list_schedules(server)})
        raise ClusterError(f"schedule {name!r} does not exist; existing schedules: {', '.join(names) or 'none'}")
    return schedules


def _find_all(server: KfpClient, name: str) -> list[Any]:
    """Returns the recurring runs of this name, with retries. The first is the current one, the others are replaced."""
    found: list[Any] = server.find_or_create(f"the schedule {name!r}", lambda: None, lambda: _list(server, name))
    return sorted(found, key=_age)


def _age(schedule: Any) -> tuple[float, bool]:
    """Orders recurring runs from the newest to the oldest; of the same second, the enabled one counts as newer."""
    return -schedule.created_at.timestamp(), schedule.status == "DISABLED"


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
    return MARK.search(schedule.description or "") is not None


def _describe(request: submit.RunRequest, cron: Cron, fingerprint: str) -> str:
    """Returns the description that KFP's UI shows. It ends with a fingerprint, to recognize changes."""
    values = request.values
    condition = ", if data or settings have changed" if request.package.name == read_package(RETRAINING).name else ""
    settings = Path(request.settings).name
    sentence = f"Trains {values['publish_model_name']} with the settings {settings} {cron.words}{condition}."
    shortened = textwrap.shorten(sentence, MAX_SENTENCE, placeholder=" ...")
    return f"{shortened} (radiograft schedule {fingerprint})"


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
