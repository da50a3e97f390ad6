"""`radiograft schedule` keeps exactly one recurring run per name, with the latest options."""

from __future__ import annotations

import re
from pathlib import Path

import kfp_server_api as api
import pytest

from tests.helpers.http_double import Fault
from tests.helpers.kfp_double import KfpDouble
from tests.helpers.recordings import read_recording
from tests.unit.radiograft_pipelines.conftest import Radiograft

URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
WEEKLY = ("schedule", "weekly", "--settings", "chestxray14", *URIS, "--cron", "0 0 3 * * 1")
RECURRING = "/apis/v2beta1/recurringruns"


def _run(radiograft: Radiograft, *arguments: str) -> str:
    result = radiograft(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def _only_schedule(kfp: KfpDouble) -> api.V2beta1RecurringRun:
    (schedule,) = kfp.recurring.values()
    return schedule


def test_schedule_new_creates_recurring_run_without_catchup(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert _run(radiograft, *WEEKLY).startswith("schedule weekly: created (0 0 3 * * 1, ")
    schedule = _only_schedule(kfp)
    (version,) = kfp.versions
    assert (schedule.display_name, schedule.trigger.cron_schedule.cron, schedule.status) == (
        "weekly",
        "0 0 3 * * 1",
        "ENABLED",
    )
    assert (schedule.no_catchup, schedule.max_concurrency) == (True, "1")
    assert schedule.pipeline_version_reference.pipeline_version_id == version
    assert schedule.runtime_config.parameters["data_source"] == "gs://data/nih"


def test_schedule_train_trigger_defaults_to_data_changed(
    radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path
) -> None:
    _run(radiograft, *WEEKLY)
    assert _only_schedule(kfp).runtime_config.parameters["train_trigger"] == "data_changed"
    assert _run(radiograft, *WEEKLY, "--set", "trigger=always").startswith("schedule weekly: replaced")
    assert _only_schedule(kfp).runtime_config.parameters["train_trigger"] == "always"
    settings = tmp_path / "mine.yaml"
    settings.write_text("train_trigger: always\n")
    _run(radiograft, "schedule", "weekly", "--settings", str(settings), *WEEKLY[4:])
    assert _only_schedule(kfp).runtime_config.parameters["train_trigger"] == "always"


def test_schedule_same_options_is_unchanged(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _run(radiograft, *WEEKLY)
    before = _only_schedule(kfp).recurring_run_id
    assert _run(radiograft, *WEEKLY).startswith("schedule weekly: unchanged")
    assert _only_schedule(kfp).recurring_run_id == before


@pytest.mark.parametrize(
    "change",
    [
        ("--set", "seed=3"),
        ("--cron", "0 0 4 * * 1"),
        ("--experiment", "nightly"),
        ("--service-account", "trainer"),
        ("--pipeline-root", "gs://artifacts"),
        ("--image", "registry.example/trainer@sha256:" + "b" * 64),
        ("--pipeline", "cutoff_search"),
    ],
    ids=lambda change: change[0],
)
def test_schedule_changed_option_replaces_it(radiograft: Radiograft, kfp: KfpDouble, change: tuple[str, ...]) -> None:
    _run(radiograft, *WEEKLY)
    before = _only_schedule(kfp).recurring_run_id
    assert _run(radiograft, *WEEKLY, *change).startswith("schedule weekly: replaced")
    assert _only_schedule(kfp).recurring_run_id != before


def test_schedule_failed_deletion_is_completed_by_next_call(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _run(radiograft, *WEEKLY)
    before = _only_schedule(kfp).recurring_run_id
    kfp.faults = [Fault("DELETE", f"{RECURRING}/.*", 500)]
    assert radiograft(*WEEKLY, "--set", "seed=3").exit_code == 1
    assert len(kfp.recurring) == 2
    _run(radiograft, *WEEKLY, "--set", "seed=3")  # the next call deletes the old schedule
    assert _only_schedule(kfp).runtime_config.parameters["train_seed"] == 3
    assert _only_schedule(kfp).recurring_run_id != before


def test_schedule_lost_response_creates_one(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("POST", RECURRING, 503, lost=True)]
    _run(radiograft, *WEEKLY)
    assert kfp.paths("POST").count(RECURRING) == 1
    assert _only_schedule(kfp).display_name == "weekly"


def test_schedule_names_are_independent(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _run(radiograft, *WEEKLY)
    _run(radiograft, "schedule", "daily", *WEEKLY[2:-1], "0 0 3 * * *")
    assert sorted(schedule.display_name for schedule in kfp.recurring.values()) == ["daily", "weekly"]
    _run(radiograft, "schedule", "daily", "--delete")
    assert _only_schedule(kfp).display_name == "weekly"


def test_schedule_foreign_recurring_run_is_kept(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.recurring["r-1"] = api.V2beta1RecurringRun(recurring_run_id="r-1", display_name="weekly", description="mine")
    result = radiograft(*WEEKLY)
    assert result.output == (
        "Error: KFP has a recurring run 'weekly' that was not created by `radiograft schedule`; "
        "choose another name, or delete r-1 in the UI\n"
    )
    assert result.exit_code == 1
    assert list(kfp.recurring) == ["r-1"]


def test_schedule_five_fields_adds_second_with_message(radiograft: Radiograft, kfp: KfpDouble) -> None:
    output = _run(radiograft, *WEEKLY[:-1], "0 3 * * 1")
    assert output.startswith("--cron has five fields, but KFP expects the second first: using '0 0 3 * * 1'\n")
    assert _only_schedule(kfp).trigger.cron_schedule.cron == "0 0 3 * * 1"


def test_schedule_subhourly_requires_option(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WEEKLY[:-1], "*/10 * * * *")
    assert result.exit_code == 1
    assert (
        "Error: '0 */10 * * * *' fires more than once an hour; add --allow-subhourly to allow this\n" in result.output
    )
    assert kfp.paths("POST") == []
    _run(radiograft, *WEEKLY[:-1], "*/10 * * * *", "--allow-subhourly")
    assert _only_schedule(kfp).trigger.cron_schedule.cron == "0 */10 * * * *"


def test_schedule_invalid_cron_sends_no_request(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WEEKLY[:-1], "0 0 25 * * 1")
    assert (result.exit_code, kfp.paths("POST")) == (1, [])
    assert (
        result.output == "Error: --cron: the hour must be *, or numbers from 0 to 23, as a list, a-b or */n; got '25'\n"
    )


def test_schedule_pause_and_resume_sets_status(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _run(radiograft, *WEEKLY)
    assert _run(radiograft, "schedule", "weekly", "--pause") == "schedule weekly: paused\n"
    assert _only_schedule(kfp).status == "DISABLED"
    assert _run(radiograft, *WEEKLY, "--set", "seed=3").startswith("schedule weekly: replaced, still paused (")
    assert _only_schedule(kfp).status == "DISABLED"
    assert _run(radiograft, "schedule", "weekly", "--resume") == "schedule weekly: resumed\n"
    assert _only_schedule(kfp).status == "ENABLED"


def test_schedule_list_shows_only_own_schedules(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert _run(radiograft, "schedule", "--list") == "no schedules yet\n"
    _run(radiograft, *WEEKLY)
    _run(radiograft, "schedule", "weekly", "--pause")
    kfp.recurring["r-1"] = api.V2beta1RecurringRun(recurring_run_id="r-1", display_name="other", description="mine")
    head, *rows = _run(radiograft, "schedule", "--list").splitlines()
    assert head.split() == ["name", "cron", "state", "source", "id"]
    (row,) = rows
    assert row.split()[:9] == ["weekly", "0", "0", "3", "*", "*", "1", "paused", "gs://data/nih"]


@pytest.mark.parametrize("action", ["--pause", "--resume", "--delete"])
def test_schedule_unknown_name_reports_error(radiograft: Radiograft, action: str) -> None:
    _run(radiograft, *WEEKLY)
    result = radiograft("schedule", "monthly", action)
    assert (result.exit_code, result.output) == (
        1,
        "Error: schedule 'monthly' does not exist; existing schedules: weekly\n",
    )


def test_schedule_no_name_raises(radiograft: Radiograft) -> None:
    result = radiograft("schedule", "--pause")
    assert result.exit_code == 1
    assert result.output.startswith("Error: a schedule must have a NAME")


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
    _run(radiograft, *WEEKLY)
    old = _only_schedule(kfp)
    run = _start_run(kfp, old, state)
    output = _run(radiograft, *WEEKLY, "--set", "seed=3")
    assert output.startswith("schedule weekly: replaced (")
    assert output.endswith(
        f"\nrun {run.run_id} of the replaced schedule continues, and KFP keeps that schedule, disabled: "
        "the next command for weekly after the run's end deletes it; --wait waits for it\n"
    )
    (new,) = kfp.recurring.keys() - {old.recurring_run_id}
    assert _statuses(kfp) == {old.recurring_run_id: "DISABLED", new: "ENABLED"}
    rows = [line.split() for line in _run(radiograft, "schedule", "--list").splitlines()[1:]]
    assert {row[-1]: row[7] for row in rows} == {old.recurring_run_id: "replaced", new: "active"}


NEXT_COMMANDS = [(*WEEKLY, "--set", "seed=3"), ("schedule", "weekly", "--pause"), ("schedule", "weekly", "--resume")]


@pytest.mark.parametrize("command", NEXT_COMMANDS, ids=["same", "pause", "resume"])
def test_schedule_replaced_is_deleted_after_its_run(
    radiograft: Radiograft, kfp: KfpDouble, command: tuple[str, ...]
) -> None:
    _run(radiograft, *WEEKLY)
    old = _only_schedule(kfp)
    run = _start_run(kfp, old)
    _run(radiograft, *WEEKLY, "--set", "seed=3")
    _run(radiograft, *command)
    assert len(kfp.recurring) == 2
    run.state = "SUCCEEDED"
    _run(radiograft, *command)
    assert _only_schedule(kfp).recurring_run_id != old.recurring_run_id
    assert _only_schedule(kfp).status == ("DISABLED" if "--pause" in command else "ENABLED")


def test_schedule_old_options_again_replace_the_new_ones(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """Fails if the disabled recurring run is taken for the current one, because its options are equal."""
    _run(radiograft, *WEEKLY)
    old = _only_schedule(kfp)
    run = _start_run(kfp, old)
    _run(radiograft, *WEEKLY, "--set", "seed=3")
    assert _run(radiograft, *WEEKLY).startswith("schedule weekly: replaced (")
    run.state = "FAILED"
    assert _run(radiograft, *WEEKLY).startswith("schedule weekly: unchanged (")
    assert (_only_schedule(kfp).status, _only_schedule(kfp).runtime_config.parameters["train_seed"]) == ("ENABLED", 0)


@pytest.mark.parametrize("field", ["recurring_run_id", "storage_state", "state"])
def test_schedule_replaced_without_unfinished_run_is_deleted(
    radiograft: Radiograft, kfp: KfpDouble, field: str
) -> None:
    """Runs of other schedules, archived runs and ended runs do not count."""
    _run(radiograft, *WEEKLY)
    run = _start_run(kfp, _only_schedule(kfp))
    setattr(run, field, {"recurring_run_id": "other", "storage_state": "ARCHIVED", "state": "SUCCEEDED"}[field])
    assert "continues" not in _run(radiograft, *WEEKLY, "--set", "seed=3")
    assert _only_schedule(kfp).runtime_config.parameters["train_seed"] == 3


def _deletes_after_run(kfp: KfpDouble, run: api.V2beta1Run) -> bool:
    """Returns whether the only deletion came after the run had ended and was read again."""
    paths = kfp.paths("GET", "DELETE")
    (deleted,) = (path for path in paths if run.recurring_run_id in path)
    return paths[: paths.index(deleted)].count("/apis/v2beta1/runs") >= 2


@pytest.mark.parametrize("arguments", [(*WEEKLY, "--set", "seed=3"), ("schedule", "weekly", "--delete")])
def test_schedule_wait_deletes_old_one_after_its_run(
    radiograft: Radiograft, kfp: KfpDouble, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    _run(radiograft, *WEEKLY)
    run = _start_run(kfp, _only_schedule(kfp))
    before = len(kfp.requests)
    monkeypatch.setattr("time.sleep", lambda _: setattr(run, "state", "SUCCEEDED"))
    output = _run(radiograft, *arguments, "--wait")
    kfp.requests = kfp.requests[before:]
    assert _deletes_after_run(kfp, run)
    assert run.run_id not in output
    assert run.recurring_run_id not in kfp.recurring


def test_schedule_delete_during_run_is_refused(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _run(radiograft, *WEEKLY)
    run = _start_run(kfp, _only_schedule(kfp))
    result = radiograft("schedule", "weekly", "--delete")
    assert (result.exit_code, result.output) == (
        1,
        f"Error: schedule 'weekly' must not have an unfinished run to be deleted, got {run.run_id} (RUNNING): "
        "Kubernetes deletes the run's pods together with the schedule. Add --wait to delete the schedule once the run "
        "has ended, or --now to lose the run's work\n",
    )
    assert _only_schedule(kfp).status == "ENABLED"


@pytest.mark.parametrize("arguments", [(*WEEKLY, "--set", "seed=3"), ("schedule", "weekly", "--delete")])
def test_schedule_now_deletes_old_one_and_reports_lost_run(
    radiograft: Radiograft, kfp: KfpDouble, arguments: tuple[str, ...]
) -> None:
    _run(radiograft, *WEEKLY)
    run = _start_run(kfp, _only_schedule(kfp))
    assert _run(radiograft, *arguments, "--now").splitlines()[-1] == (
        f"run {run.run_id} is lost: Kubernetes deletes its pods with the schedule, and KFP will report it as running "
        f"forever; remove it with radiograft runs {run.run_id} --forget"
    )
    assert run.recurring_run_id not in kfp.recurring
    assert _run(radiograft, "runs").splitlines()[-1] == "radiograft runs --forget removes lost runs from the list"


def test_schedule_description_is_a_sentence(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    _run(radiograft, *WEEKLY)
    sentence, _, mark = _only_schedule(kfp).description.partition(" (")
    assert sentence == (
        "Trains chest-radiograph with the settings chestxray14 on Mondays at 03:00, if data or settings have changed."
    )
    assert re.fullmatch(r"radiograft schedule [0-9a-f]{16}\)", mark)
    settings = tmp_path / "mine.yaml"
    settings.write_text("model_name: lungs\ntrain_trigger: always\n")
    _run(radiograft, "schedule", "daily", "--settings", str(settings), *URIS, "--cron", "0 3 * * *")
    (daily,) = (schedule for schedule in kfp.recurring.values() if schedule.display_name == "daily")
    assert daily.description.startswith("Trains lungs with the settings mine.yaml every day at 03:00. (radiograft")


def test_schedule_long_description_fits_into_kfp(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    """Fails if KFP would cut off the fingerprint: it stores 191 characters."""
    settings = tmp_path / f"{'m' * 200}.yaml"
    settings.write_text("model_name: lungs\n")
    command = ("schedule", "weekly", "--settings", str(settings), *WEEKLY[4:])
    _run(radiograft, *command)
    assert len(_only_schedule(kfp).description) <= 191
    assert _run(radiograft, *command).startswith("schedule weekly: unchanged (")


def test_schedule_created_by_earlier_release_is_replaced(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """The recorded recurring run has a description of the earlier form, `radiograft schedule` and a hash."""
    kfp.add_recorded_schedules(read_recording("recurring_runs"))
    assert "recorded" in _run(radiograft, "schedule", "--list")
    assert _run(radiograft, "schedule", "recorded", *WEEKLY[2:]).startswith("schedule recorded: replaced (")
    assert _only_schedule(kfp).description.startswith("Trains chest-radiograph")
