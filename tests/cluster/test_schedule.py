"""Schedules on a real KFP are created, replaced during a run, paused and deleted, and start runs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from radiograft_pipelines.cluster.kfp_client import KfpClient, find_by_name
from radiograft_pipelines.cluster.watch import ENDED
from tests.cluster.conftest import Radiograft, listed_row, listed_state, state_of, terminate, wait_until

YEARLY = ("--cron", "0 0 3 1 1 *")
# Trains in every run, so that a run works long enough.
EVERY_MINUTE = ("--cron", "0 * * * * *", "--allow-subhourly", "--pipeline", "transfer_learning")
FIRST_RUN_MINUTES = 4
END_MINUTES = 10


@pytest.fixture
def name(radiograft: Radiograft, server: KfpClient) -> Iterator[str]:
    """The name of a schedule, which is deleted after the test; its runs are terminated."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    own_ids = [schedule.recurring_run_id for schedule in _recurring(server, name)]
    for recurring_run_id in own_ids:
        server.schedules.recurring_run_service_disable_recurring_run(recurring_run_id=recurring_run_id)
    unfinished = [run.run_id for each in own_ids for run in _runs_of(server, each) if run.state not in ENDED]
    for run_id in unfinished:
        terminate(server, run_id)
    wait_until(lambda: all(state_of(server, run_id) in ENDED for run_id in unfinished), END_MINUTES)
    radiograft("schedule", name, "--delete")


def _recurring(server: KfpClient, name: str) -> list[Any]:
    response = server.schedules.recurring_run_service_list_recurring_runs(
        filter=find_by_name(name), namespace=server.scope
    )
    return list(response.recurring_runs or [])


def _runs_of(server: KfpClient, recurring_run_id: str) -> list[Any]:
    runs = server.iter_items("runs", server.runs.run_service_list_runs, "runs", namespace=server.scope)
    return [run for run in runs if run.recurring_run_id == recurring_run_id]


def _start_scheduled_run(server: KfpClient, name: str) -> tuple[str, str]:
    """Waits until the only schedule of this name has a running run. Returns the IDs of schedule and run."""
    (recurring,) = _recurring(server, name)
    schedule_id = str(recurring.recurring_run_id)
    wait_until(lambda: any(run.state == "RUNNING" for run in _runs_of(server, schedule_id)), FIRST_RUN_MINUTES)
    return schedule_id, str(_runs_of(server, schedule_id)[0].run_id)


def test_schedule_changed_option_replaces_it(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str
) -> None:
    """Needs no free node: the schedule starts no run."""
    assert f"schedule {name}: created" in radiograft("schedule", name, *run_options, *YEARLY).stdout
    (first,) = _recurring(server, name)
    assert (first.trigger.cron_schedule.cron, first.max_concurrency, first.no_catchup) == ("0 0 3 1 1 *", "1", True)
    assert f"schedule {name}: unchanged" in radiograft("schedule", name, *run_options, *YEARLY).stdout
    assert [schedule.recurring_run_id for schedule in _recurring(server, name)] == [first.recurring_run_id]
    assert f"schedule {name}: replaced" in radiograft("schedule", name, *run_options, *YEARLY, "--set", "seed=1").stdout
    (second,) = _recurring(server, name)
    assert second.recurring_run_id != first.recurring_run_id
    assert second.runtime_config.parameters["train_seed"] == "1"


def test_schedule_description_is_a_sentence(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str, model: str
) -> None:
    """Needs no free node. The UI shows the description: settings file, model and cron in words."""
    radiograft("schedule", name, *run_options, *YEARLY)
    (recurring,) = _recurring(server, name)
    assert model in recurring.description
    assert "small.yaml" in recurring.description
    assert "03:00" in recurring.description or "3:00" in recurring.description


def test_schedule_pause_resume_and_delete(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str
) -> None:
    """Needs no free node: the schedule starts no run."""
    radiograft("schedule", name, *run_options, *YEARLY)
    for option, status in (("--pause", "DISABLED"), ("--resume", "ENABLED")):
        assert radiograft("schedule", name, option).exit_code == 0
        assert [schedule.status for schedule in _recurring(server, name)] == [status]
    assert name in radiograft("schedule", "--list").stdout
    assert radiograft("schedule", name, "--delete").exit_code == 0
    assert _recurring(server, name) == []


def test_schedule_every_minute_starts_one_run_at_a_time(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str
) -> None:
    """Needs KFP's controller of schedules."""
    output = radiograft("schedule", name, *run_options, "--cron", "* * * * *", "--allow-subhourly").stdout
    assert "using '0 * * * * *'" in output
    (recurring,) = _recurring(server, name)
    wait_until(lambda: bool(_runs_of(server, recurring.recurring_run_id)), FIRST_RUN_MINUTES)
    unfinished = [run for run in _runs_of(server, recurring.recurring_run_id) if run.state in ("PENDING", "RUNNING")]
    assert len(unfinished) <= 1


def test_schedule_replaced_during_a_run_keeps_the_run(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str
) -> None:
    """Needs a free node. Kubernetes deletes a run's Workflow together with its recurring run."""
    radiograft("schedule", name, *run_options, *EVERY_MINUTE)
    old_id, run_id = _start_scheduled_run(server, name)
    assert radiograft("schedule", name, "--delete").exit_code == 1
    replaced = radiograft("schedule", name, *run_options, *YEARLY)
    assert f"schedule {name}: replaced" in replaced.stdout
    assert run_id in replaced.stdout
    statuses = {schedule.recurring_run_id: schedule.status for schedule in _recurring(server, name)}
    assert statuses.pop(old_id) == "DISABLED"
    assert list(statuses.values()) == ["ENABLED"]
    assert listed_state(radiograft, run_id) == "running"
    terminate(server, run_id)
    wait_until(lambda: state_of(server, run_id) in ENDED, END_MINUTES)
    radiograft("schedule", name, *run_options, *YEARLY)
    assert old_id not in {schedule.recurring_run_id for schedule in _recurring(server, name)}


def test_schedule_deleted_at_once_leaves_lost_run_that_can_be_forgotten(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str
) -> None:
    """Needs a free node, and permission to list Workflows and pods. KFP reports such a run as running forever."""
    radiograft("schedule", name, *run_options, *EVERY_MINUTE)
    _, run_id = _start_scheduled_run(server, name)
    deleted = radiograft("schedule", name, "--delete", "--now")
    assert deleted.exit_code == 0, deleted.output
    assert f"run {run_id} is lost" in deleted.stdout
    wait_until(lambda: listed_state(radiograft, run_id) == "lost", END_MINUTES)
    assert "its schedule was deleted" in listed_row(radiograft, run_id)
    assert f"run {run_id} archived" in radiograft("runs", run_id, "--forget").stdout
    assert server.runs.run_service_get_run(run_id=run_id).storage_state == "ARCHIVED"
