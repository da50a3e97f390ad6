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


def run(radiograft: Radiograft, *arguments: str) -> str:
    result = radiograft(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def only_schedule(kfp: KfpDouble) -> api.V2beta1RecurringRun:
    (schedule,) = kfp.recurring.values()
    return schedule


def test_schedule_new_creates_recurring_run_without_catchup(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert run(radiograft, *WEEKLY).startswith("schedule weekly: created (0 0 3 * * 1, ")
    schedule = only_schedule(kfp)
    (version,) = kfp.versions
    assert (schedule.display_name, schedule.trigger.cron_schedule.cron, schedule.status) == (
        "weekly",
        "0 0 3 * * 1",
        "ENABLED",
    )
    assert (schedule.no_catchup, schedule.max_concurrency) == (True, "1")
    assert schedule.pipeline_version_reference.pipeline_version_id == version
    assert schedule.runtime_config.parameters["data_source"] == "gs://data/nih"


def test_schedule_runs_retraining_by_default(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run(radiograft, *WEEKLY)
    assert [pipeline.display_name for pipeline in kfp.pipelines.values()] == ["radiograft-retraining"]
    assert run(radiograft, *WEEKLY, "--pipeline", "transfer_learning").startswith("schedule weekly: replaced")
    version = kfp.versions[only_schedule(kfp).pipeline_version_reference.pipeline_version_id]
    assert kfp.pipelines[version.pipeline_id].display_name == "radiograft-transfer-learning"


def test_schedule_same_options_is_unchanged(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run(radiograft, *WEEKLY)
    before = only_schedule(kfp).recurring_run_id
    assert run(radiograft, *WEEKLY).startswith("schedule weekly: unchanged")
    assert only_schedule(kfp).recurring_run_id == before


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
    run(radiograft, *WEEKLY)
    before = only_schedule(kfp).recurring_run_id
    assert run(radiograft, *WEEKLY, *change).startswith("schedule weekly: replaced")
    assert only_schedule(kfp).recurring_run_id != before


def test_schedule_failed_deletion_is_completed_by_next_call(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run(radiograft, *WEEKLY)
    before = only_schedule(kfp).recurring_run_id
    kfp.faults = [Fault("DELETE", f"{RECURRING}/.*", 500)]
    assert radiograft(*WEEKLY, "--set", "seed=3").exit_code == 1
    assert len(kfp.recurring) == 2
    run(radiograft, *WEEKLY, "--set", "seed=3")  # the next call deletes the old schedule
    assert only_schedule(kfp).runtime_config.parameters["train_seed"] == "3"
    assert only_schedule(kfp).recurring_run_id != before


def test_schedule_lost_response_creates_one(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("POST", RECURRING, 503, lost=True)]
    run(radiograft, *WEEKLY)
    assert kfp.paths("POST").count(RECURRING) == 1
    assert only_schedule(kfp).display_name == "weekly"


def test_schedule_names_are_independent(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run(radiograft, *WEEKLY)
    run(radiograft, "schedule", "daily", *WEEKLY[2:-1], "0 0 3 * * *")
    assert sorted(schedule.display_name for schedule in kfp.recurring.values()) == ["daily", "weekly"]
    run(radiograft, "schedule", "daily", "--delete")
    assert only_schedule(kfp).display_name == "weekly"


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
    output = run(radiograft, *WEEKLY[:-1], "0 3 * * 1")
    assert output.startswith("--cron has five fields, but KFP expects the second first: using '0 0 3 * * 1'\n")
    assert only_schedule(kfp).trigger.cron_schedule.cron == "0 0 3 * * 1"


def test_schedule_subhourly_requires_option(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WEEKLY[:-1], "*/10 * * * *")
    assert result.exit_code == 1
    assert (
        "Error: '0 */10 * * * *' fires more than once an hour; add --allow-subhourly to allow this\n" in result.output
    )
    assert kfp.paths("POST") == []
    run(radiograft, *WEEKLY[:-1], "*/10 * * * *", "--allow-subhourly")
    assert only_schedule(kfp).trigger.cron_schedule.cron == "0 */10 * * * *"


def test_schedule_invalid_cron_sends_no_request(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WEEKLY[:-1], "0 0 25 * * 1")
    assert (result.exit_code, kfp.paths("POST")) == (1, [])
    assert (
        result.output == "Error: --cron: the hour must be *, or numbers from 0 to 23, as a list, a-b or */n; got '25'\n"
    )


def test_schedule_pause_and_resume_sets_status(radiograft: Radiograft, kfp: KfpDouble) -> None:
    run(radiograft, *WEEKLY)
    assert run(radiograft, "schedule", "weekly", "--pause") == "schedule weekly: paused\n"
    assert only_schedule(kfp).status == "DISABLED"
    assert run(radiograft, *WEEKLY, "--set", "seed=3").startswith("schedule weekly: replaced, still paused (")
    assert only_schedule(kfp).status == "DISABLED"
    assert run(radiograft, "schedule", "weekly", "--resume") == "schedule weekly: resumed\n"
    assert only_schedule(kfp).status == "ENABLED"


def test_schedule_list_shows_only_own_schedules(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert run(radiograft, "schedule", "--list") == "no schedules yet\n"
    run(radiograft, *WEEKLY)
    run(radiograft, "schedule", "weekly", "--pause")
    kfp.recurring["r-1"] = api.V2beta1RecurringRun(recurring_run_id="r-1", display_name="other", description="mine")
    head, *rows = run(radiograft, "schedule", "--list").splitlines()
    assert head.split() == ["name", "cron", "state", "source", "id"]
    (row,) = rows
    assert row.split()[:9] == ["weekly", "0", "0", "3", "*", "*", "1", "paused", "gs://data/nih"]


@pytest.mark.parametrize("action", ["--pause", "--resume", "--delete"])
def test_schedule_unknown_name_reports_error(radiograft: Radiograft, action: str) -> None:
    run(radiograft, *WEEKLY)
    result = radiograft("schedule", "monthly", action)
    assert (result.exit_code, result.output) == (
        1,
        "Error: schedule 'monthly' does not exist; existing schedules: weekly\n",
    )


def test_schedule_no_name_raises(radiograft: Radiograft) -> None:
    result = radiograft("schedule", "--pause")
    assert result.exit_code == 1
    assert result.output.startswith("Error: a schedule must have a NAME")


def test_schedule_description_is_a_sentence(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    run(radiograft, *WEEKLY)
    sentence, _, mark = only_schedule(kfp).description.partition(" (")
    assert sentence == (
        "Trains chest-radiograph with the settings chestxray14 on Mondays at 03:00, if data or settings have changed."
    )
    assert re.fullmatch(r"radiograft schedule [0-9a-f]{16}\)", mark)
    settings = tmp_path / "mine.yaml"
    settings.write_text("model_name: lungs\n")
    run(
        radiograft,
        "schedule",
        "daily",
        "--settings",
        str(settings),
        *URIS,
        "--cron",
        "0 3 * * *",
        "--pipeline",
        "transfer_learning",
    )
    (daily,) = (schedule for schedule in kfp.recurring.values() if schedule.display_name == "daily")
    assert daily.description.startswith("Trains lungs with the settings mine.yaml every day at 03:00. (radiograft")


def test_schedule_long_description_fits_into_kfp(radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path) -> None:
    """Fails if KFP would cut off the fingerprint: it stores 191 characters."""
    settings = tmp_path / f"{'m' * 200}.yaml"
    settings.write_text("model_name: lungs\n")
    command = ("schedule", "weekly", "--settings", str(settings), *WEEKLY[4:])
    run(radiograft, *command)
    assert len(only_schedule(kfp).description) <= 191
    assert run(radiograft, *command).startswith("schedule weekly: unchanged (")


def test_schedule_created_by_earlier_release_is_replaced(radiograft: Radiograft, kfp: KfpDouble) -> None:
    """The recorded recurring run has a description of the earlier form, `radiograft schedule` and a hash."""
    kfp.add_recorded_schedules(read_recording("recurring_runs"))
    assert "recorded" in run(radiograft, "schedule", "--list")
    assert run(radiograft, "schedule", "recorded", *WEEKLY[2:]).startswith("schedule recorded: replaced (")
    assert only_schedule(kfp).description.startswith("Trains chest-radiograph")
