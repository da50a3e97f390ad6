"""A schedule that is replaced or deleted does not stop its run, unless the user insists."""

from __future__ import annotations

import kfp_server_api as api
import pytest

from tests.helpers.kfp_double import KfpDouble
from tests.unit.radiograft_pipelines.cluster.test_schedules import WEEKLY, only_schedule, run
from tests.unit.radiograft_pipelines.conftest import Radiograft


def _start_run(kfp: KfpDouble, schedule: api.V2beta1RecurringRun, state: str = "RUNNING") -> api.V2beta1Run:
    """Adds a run that a schedule has started."""
    return kfp.add_run(
        display_name="weekly-1", state=state, recurring_run_id=schedule.recurring_run_id,
        experiment_id=schedule.experiment_id, pipeline_version_reference=schedule.pipeline_version_reference,
    )  # fmt: skip


def _statuses(kfp: KfpDouble) -> dict[str, str]:
    return {key: schedule.status for key, schedule in kfp.recurring.items()}


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "CANCELING"])
def test_schedule_replaced_during_run_keeps_old_one_disabled(
    radiograft: Radiograft, kfp: KfpDouble, state: str
) -> None:
    """Fails if the old recurring run is deleted during its run: Kubernetes would delete the run's Workflow with it."""
    run(radiograft, *WEEKLY)
    old = only_schedule(kfp)
    started = _start_run(kfp, old, state)
    output = run(radiograft, *WEEKLY, "--set", "seed=3")
    assert output.startswith("schedule weekly: replaced (")
    assert output.endswith(
        f"\nrun {started.run_id} of the replaced schedule continues, and KFP keeps that schedule, disabled: "
        "the next command for weekly after the run's end deletes it; --wait waits for it\n"
    )
    (new,) = kfp.recurring.keys() - {old.recurring_run_id}
    assert _statuses(kfp) == {old.recurring_run_id: "DISABLED", new: "ENABLED"}
    rows = [line.split() for line in run(radiograft, "schedule", "--list").splitlines()[1:]]
    assert {row[-1]: row[7] for row in rows} == {old.recurring_run_id: "replaced", new: "active"}


NEXT_COMMANDS = [(*WEEKLY, "--set", "seed=3"), ("schedule", "weekly", "--pause"), ("schedule", "weekly", "--resume")]


@pytest.mark.parametrize("command", NEXT_COMMANDS, ids=["same", "pause", "resume"])
def test_schedule_replaced_is_deleted_after_its_run(
    radiograft: Radiograft, kfp: KfpDouble, command: tuple[str, ...]
) -> None:
    run(radiograft, *WEEKLY)
    old = only_schedule(kfp)
    started = _start_run(kfp, old)
    run(radiograft, *WEEKLY, "--set", "seed=3")
    run(radiograft, *command)
    assert len(kfp.recurring) == 2
    started.state = "SUCCEEDED"
    run(radiograft, *command)
    assert only_schedule(kfp).recurring_run_id != old.recurring_run_id
    assert only_schedule(kfp).status == ("DISABLED" if "--pause" in command else "ENABLED")


def test_schedule_old_options_again_replace_the_new_ones(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """Fails if the disabled recurring run is taken for the current one, because its options are equal."""
    run(radiograft, *WEEKLY)
    old = only_schedule(kfp)
    started = _start_run(kfp, old)
    run(radiograft, *WEEKLY, "--set", "seed=3")
    assert run(radiograft, *WEEKLY).startswith("schedule weekly: replaced (")
    started.state = "FAILED"
    assert run(radiograft, *WEEKLY).startswith("schedule weekly: unchanged (")
    assert (only_schedule(kfp).status, only_schedule(kfp).runtime_config.parameters["train_seed"]) == ("ENABLED", "0")


@pytest.mark.parametrize("field", ["recurring_run_id", "storage_state", "state"])
def test_schedule_replaced_without_unfinished_run_is_deleted(
    radiograft: Radiograft, kfp: KfpDouble, field: str
) -> None:
    """Runs of other schedules, archived runs and ended runs do not count."""
    run(radiograft, *WEEKLY)
    started = _start_run(kfp, only_schedule(kfp))
    setattr(started, field, {"recurring_run_id": "other", "storage_state": "ARCHIVED", "state": "SUCCEEDED"}[field])
    assert "continues" not in run(radiograft, *WEEKLY, "--set", "seed=3")
    assert only_schedule(kfp).runtime_config.parameters["train_seed"] == "3"


def _deletes_after_run(kfp: KfpDouble, started: api.V2beta1Run) -> bool:
    """Returns whether the only deletion came after the run had ended and was read again."""
    paths = kfp.paths("GET", "DELETE")
    (deleted,) = (path for path in paths if started.recurring_run_id in path)
    return paths[: paths.index(deleted)].count("/apis/v2beta1/runs") >= 2


@pytest.mark.parametrize("arguments", [(*WEEKLY, "--set", "seed=3"), ("schedule", "weekly", "--delete")])
def test_schedule_wait_deletes_old_one_after_its_run(
    radiograft: Radiograft, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    run(radiograft, *WEEKLY)
    started = _start_run(kfp, only_schedule(kfp))
    before = len(kfp.requests)
    monkeypatch.setattr("time.sleep", lambda _: setattr(started, "state", "SUCCEEDED"))
    output = run(radiograft, *arguments, "--wait")
    kfp.requests = kfp.requests[before:]
    assert _deletes_after_run(kfp, started)
    assert started.run_id not in output
    assert started.recurring_run_id not in kfp.recurring


def test_schedule_delete_during_run_is_refused(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run(radiograft, *WEEKLY)
    started = _start_run(kfp, only_schedule(kfp))
    result = radiograft("schedule", "weekly", "--delete")
    assert result.exit_code == 1
    assert result.output == (
        f"Error: schedule 'weekly' must not have an unfinished run to be deleted, got {started.run_id} (RUNNING): "
        "Kubernetes deletes the run's pods together with the schedule. Add --wait to delete the schedule once the run "
        "has ended, or --now to lose the run's work\n"
    )
    assert only_schedule(kfp).status == "ENABLED"


@pytest.mark.parametrize("arguments", [(*WEEKLY, "--set", "seed=3"), ("schedule", "weekly", "--delete")])
def test_schedule_now_deletes_old_one_and_reports_lost_run(
    radiograft: Radiograft, kfp: KfpDouble, arguments: tuple[str, ...]
) -> None:
    run(radiograft, *WEEKLY)
    started = _start_run(kfp, only_schedule(kfp))
    assert run(radiograft, *arguments, "--now").splitlines()[-1] == (
        f"run {started.run_id} is lost: Kubernetes deletes its pods with the schedule, and KFP will report it as "
        f"running forever; remove it with radiograft runs {started.run_id} --forget"
    )
    assert started.recurring_run_id not in kfp.recurring
    assert run(radiograft, "runs").splitlines()[-1] == "radiograft runs --forget removes lost runs from the list"
