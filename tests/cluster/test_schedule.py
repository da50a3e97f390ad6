"""Schedules on a real KFP: one recurring run a name, replaced, paused and removed, and a run by the clock."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from radiograft_pipelines.cluster.kfp_client import KfpClient, find_by_name
from tests.cluster.conftest import Radiograft, until

YEARLY = ("--cron", "0 0 3 1 1 *")
FIRST_RUN_MINUTES = 4


@pytest.fixture
def name(radiograft: Radiograft, server: KfpClient) -> Iterator[str]:
    """The name of a schedule, which is removed with its runs after the test."""
    name = f"test-{secrets.token_hex(4)}"
    yield name
    ours = [each.recurring_run_id for each in _recurring(server, name)]
    radiograft("schedule", name, "--delete")
    for run in server.pages("runs", server.runs.run_service_list_runs, "runs", namespace=server.scope):
        if run.recurring_run_id in ours and run.state in ("PENDING", "RUNNING"):
            server.runs.run_service_terminate_run(run_id=run.run_id)


def _recurring(server: KfpClient, name: str) -> list[Any]:
    found = server.schedules.recurring_run_service_list_recurring_runs(
        filter=find_by_name(name), namespace=server.scope
    )
    return list(found.recurring_runs or [])


def test_one_recurring_run_a_name(radiograft: Radiograft, server: KfpClient, order: tuple[str, ...], name: str) -> None:
    assert f"schedule {name}: created" in radiograft("schedule", name, *order, *YEARLY).stdout
    (first,) = _recurring(server, name)
    assert (first.trigger.cron_schedule.cron, first.max_concurrency, first.no_catchup) == ("0 0 3 1 1 *", "1", True)
    assert f"schedule {name}: unchanged" in radiograft("schedule", name, *order, *YEARLY).stdout
    assert [each.recurring_run_id for each in _recurring(server, name)] == [first.recurring_run_id]
    assert f"schedule {name}: replaced" in radiograft("schedule", name, *order, *YEARLY, "--set", "seed=1").stdout
    (second,) = _recurring(server, name)
    assert second.recurring_run_id != first.recurring_run_id
    assert second.runtime_config.parameters["train_seed"] == 1


def test_pause_resume_and_delete(radiograft: Radiograft, server: KfpClient, order: tuple[str, ...], name: str) -> None:
    radiograft("schedule", name, *order, *YEARLY)
    for option, status in (("--pause", "DISABLED"), ("--resume", "ENABLED")):
        assert radiograft("schedule", name, option).exit_code == 0
        assert [each.status for each in _recurring(server, name)] == [status]
    assert name in radiograft("schedule", "--list").stdout
    assert radiograft("schedule", name, "--delete").exit_code == 0
    assert _recurring(server, name) == []


def test_five_fields_fire_by_the_minute_and_one_run_at_a_time(
    radiograft: Radiograft, server: KfpClient, order: tuple[str, ...], name: str
) -> None:
    told = radiograft("schedule", name, *order, "--cron", "* * * * *", "--allow-subhourly").stdout
    assert "taken as '0 * * * * *'" in told
    (recurring,) = _recurring(server, name)

    def its_runs() -> list[Any]:
        everything = server.pages("runs", server.runs.run_service_list_runs, "runs", namespace=server.scope)
        return [each for each in everything if each.recurring_run_id == recurring.recurring_run_id]

    until(lambda: bool(its_runs()), FIRST_RUN_MINUTES)
    assert len([each for each in its_runs() if each.state in ("PENDING", "RUNNING")]) <= 1
