"""`radiograft schedule`: exactly one recurring run a name, as it was asked for last."""

from __future__ import annotations

from pathlib import Path

import kfp_server_api as api
import pytest

from tests.helpers.http_double import Fault
from tests.helpers.kfp_double import KfpDouble
from tests.unit.radiograft_pipelines.conftest import Radiograft

URIS = ("--set", "source=gs://data/nih", "--set", "registry=gs://models/registry")
WEEKLY = ("schedule", "weekly", "--settings", "chestxray14", *URIS, "--cron", "0 0 3 * * 1")
RECURRING = "/apis/v2beta1/recurringruns"


def _done(radiograft: Radiograft, *arguments: str) -> str:
    result = radiograft(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def _one(kfp: KfpDouble) -> api.V2beta1RecurringRun:
    (found,) = kfp.recurring.values()
    return found


def test_a_schedule_fires_by_its_cron_without_catch_up_one_run_at_a_time(
    radiograft: Radiograft, kfp: KfpDouble
) -> None:
    assert _done(radiograft, *WEEKLY).startswith("schedule weekly: created (0 0 3 * * 1, ")
    made = _one(kfp)
    (version,) = kfp.versions
    assert (made.display_name, made.trigger.cron_schedule.cron, made.status) == ("weekly", "0 0 3 * * 1", "ENABLED")
    assert (made.no_catchup, made.max_concurrency) == (True, "1")
    assert made.pipeline_version_reference.pipeline_version_id == version
    assert made.runtime_config.parameters["data_source"] == "gs://data/nih"


def test_its_runs_train_only_where_something_changed_unless_told_otherwise(
    radiograft: Radiograft, kfp: KfpDouble, tmp_path: Path
) -> None:
    _done(radiograft, *WEEKLY)
    assert _one(kfp).runtime_config.parameters["train_trigger"] == "data_changed"
    assert _done(radiograft, *WEEKLY, "--set", "when=always").startswith("schedule weekly: replaced")
    assert _one(kfp).runtime_config.parameters["train_trigger"] == "always"
    settings = tmp_path / "mine.yaml"
    settings.write_text("train_trigger: always\n")
    _done(radiograft, "schedule", "weekly", "--settings", str(settings), *WEEKLY[4:])
    assert _one(kfp).runtime_config.parameters["train_trigger"] == "always"


def test_the_same_again_leaves_it_as_it_is(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _done(radiograft, *WEEKLY)
    before = _one(kfp).recurring_run_id
    assert _done(radiograft, *WEEKLY).startswith("schedule weekly: unchanged")
    assert _one(kfp).recurring_run_id == before


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
def test_whatever_changes_replaces_it(radiograft: Radiograft, kfp: KfpDouble, change: tuple[str, ...]) -> None:
    _done(radiograft, *WEEKLY)
    before = _one(kfp).recurring_run_id
    assert _done(radiograft, *WEEKLY, *change).startswith("schedule weekly: replaced")
    assert _one(kfp).recurring_run_id != before


def test_the_new_one_is_there_before_the_old_one_goes(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _done(radiograft, *WEEKLY)
    before = _one(kfp).recurring_run_id
    kfp.faults = [Fault("DELETE", f"{RECURRING}/.*", 500)]
    assert radiograft(*WEEKLY, "--set", "seed=3").exit_code == 1
    assert len(kfp.recurring) == 2
    _done(radiograft, *WEEKLY, "--set", "seed=3")  # the next call clears up
    assert _one(kfp).runtime_config.parameters["train_seed"] == 3
    assert _one(kfp).recurring_run_id != before


def test_an_answer_that_got_lost_leaves_one(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.faults = [Fault("POST", RECURRING, 503, lost=True)]
    _done(radiograft, *WEEKLY)
    assert kfp.paths("POST").count(RECURRING) == 1
    assert _one(kfp).display_name == "weekly"


def test_names_do_not_touch_each_other(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _done(radiograft, *WEEKLY)
    _done(radiograft, "schedule", "daily", *WEEKLY[2:-1], "0 0 3 * * *")
    assert sorted(each.display_name for each in kfp.recurring.values()) == ["daily", "weekly"]
    _done(radiograft, "schedule", "daily", "--delete")
    assert _one(kfp).display_name == "weekly"


def test_a_schedule_of_somebody_else_is_left_alone(radiograft: Radiograft, kfp: KfpDouble) -> None:
    kfp.recurring["r-1"] = api.V2beta1RecurringRun(recurring_run_id="r-1", display_name="weekly", description="mine")
    result = radiograft(*WEEKLY)
    assert result.output == (
        "Error: KFP has a recurring run 'weekly' that `radiograft schedule` did not make; "
        "choose another name, or delete r-1 in the UI\n"
    )
    assert result.exit_code == 1
    assert list(kfp.recurring) == ["r-1"]


def test_five_fields_get_the_second_and_it_is_said(radiograft: Radiograft, kfp: KfpDouble) -> None:
    told = _done(radiograft, *WEEKLY[:-1], "0 3 * * 1")
    assert told.startswith("--cron has five fields, and KFP wants the second first: taken as '0 0 3 * * 1'\n")
    assert _one(kfp).trigger.cron_schedule.cron == "0 0 3 * * 1"


def test_more_than_once_an_hour_must_be_meant(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WEEKLY[:-1], "*/10 * * * *")
    assert result.exit_code == 1
    assert (
        "Error: '0 */10 * * * *' fires more than once an hour; say --allow-subhourly if that is meant\n"
        in result.output
    )
    assert kfp.paths("POST") == []
    _done(radiograft, *WEEKLY[:-1], "*/10 * * * *", "--allow-subhourly")
    assert _one(kfp).trigger.cron_schedule.cron == "0 */10 * * * *"


def test_a_wrong_cron_reaches_no_server(radiograft: Radiograft, kfp: KfpDouble) -> None:
    result = radiograft(*WEEKLY[:-1], "0 0 25 * * 1")
    assert (result.exit_code, kfp.paths("POST")) == (1, [])
    assert (
        result.output == "Error: --cron: the hour must be *, or numbers from 0 to 23, as a list, a-b or */n; got '25'\n"
    )


def test_pause_and_resume(radiograft: Radiograft, kfp: KfpDouble) -> None:
    _done(radiograft, *WEEKLY)
    assert _done(radiograft, "schedule", "weekly", "--pause") == "schedule weekly: paused\n"
    assert _one(kfp).status == "DISABLED"
    assert _done(radiograft, *WEEKLY, "--set", "seed=3").startswith("schedule weekly: replaced, still paused (")
    assert _one(kfp).status == "DISABLED"
    assert _done(radiograft, "schedule", "weekly", "--resume") == "schedule weekly: resumed\n"
    assert _one(kfp).status == "ENABLED"


def test_list_shows_ours(radiograft: Radiograft, kfp: KfpDouble) -> None:
    assert _done(radiograft, "schedule", "--list") == "no schedules yet\n"
    _done(radiograft, *WEEKLY)
    _done(radiograft, "schedule", "weekly", "--pause")
    kfp.recurring["r-1"] = api.V2beta1RecurringRun(recurring_run_id="r-1", display_name="other", description="mine")
    head, *rows = _done(radiograft, "schedule", "--list").splitlines()
    assert head.split() == ["name", "cron", "state", "source", "id"]
    (row,) = rows
    assert row.split()[:9] == ["weekly", "0", "0", "3", "*", "*", "1", "paused", "gs://data/nih"]


@pytest.mark.parametrize("action", ["--pause", "--resume", "--delete"])
def test_a_schedule_that_does_not_exist_is_told(radiograft: Radiograft, action: str) -> None:
    _done(radiograft, *WEEKLY)
    result = radiograft("schedule", "monthly", action)
    assert (result.exit_code, result.output) == (1, "Error: there is no schedule 'monthly'; there are: weekly\n")


def test_a_name_is_needed(radiograft: Radiograft) -> None:
    result = radiograft("schedule", "--pause")
    assert result.exit_code == 1
    assert result.output.startswith("Error: a schedule must have a NAME")
