"""Schedules on a real KFP are created, replaced, paused and deleted, and start runs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from radiograft_pipelines.cluster.kfp_client import KfpClient, find_by_name
from tests.cluster.conftest import Radiograft, wait_until

YEARLY = ("--cron", "0 0 3 1 1 *")
FIRST_RUN_MINUTES = 4


@pytest.fixture
def name(radiograft: Radiograft, server: KfpClient) -> Iterator[str]:
    """The name of a schedule, which is deleted after the test; its runs are terminated."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    own_ids = [schedule.recurring_run_id for schedule in _recurring(server, name)]
    radiograft("schedule", name, "--delete")
    for run in server.iter_items("runs", server.runs.run_service_list_runs, "runs", namespace=server.scope):
        if run.recurring_run_id in own_ids and run.state in ("PENDING", "RUNNING"):
            server.runs.run_service_terminate_run(run_id=run.run_id)


def _recurring(server: KfpClient, name: str) -> list[Any]:
    response = server.schedules.recurring_run_service_list_recurring_runs(
        filter=find_by_name(name), namespace=server.scope
    )
    return list(response.recurring_runs or [])


def test_schedule_changed_option_replaces_it(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str
) -> None:
    assert f"schedule {name}: created" in radiograft("schedule", name, *run_options, *YEARLY).stdout
    (first,) = _recurring(server, name)
    assert (first.trigger.cron_schedule.cron, first.max_concurrency, first.no_catchup) == ("0 0 3 1 1 *", "1", True)
    assert f"schedule {name}: unchanged" in radiograft("schedule", name, *run_options, *YEARLY).stdout
    assert [schedule.recurring_run_id for schedule in _recurring(server, name)] == [first.recurring_run_id]
    assert f"schedule {name}: replaced" in radiograft("schedule", name, *run_options, *YEARLY, "--set", "seed=1").stdout
    (second,) = _recurring(server, name)
    assert second.recurring_run_id != first.recurring_run_id
    assert second.runtime_config.parameters["train_seed"] == 1


def test_schedule_pause_resume_and_delete(
    radiograft: Radiograft, server: KfpClient, run_options: tuple[str, ...], name: str
) -> None:
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
    output = radiograft("schedule", name, *run_options, "--cron", "* * * * *", "--allow-subhourly").stdout
    assert "using '0 * * * * *'" in output
    (recurring,) = _recurring(server, name)

    def scheduled_runs() -> list[Any]:
        all_runs = server.iter_items("runs", server.runs.run_service_list_runs, "runs", namespace=server.scope)
        return [run for run in all_runs if run.recurring_run_id == recurring.recurring_run_id]

    wait_until(lambda: bool(scheduled_runs()), FIRST_RUN_MINUTES)
    assert len([run for run in scheduled_runs() if run.state in ("PENDING", "RUNNING")]) <= 1
