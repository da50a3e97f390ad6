"""A study shared by workers: budget, determinism, resumption after a kill, pruning and the journal."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from radiograft import storage
from radiograft.config import Search
from radiograft.config.search_space import parse_space
from radiograft.registry.training_types import Trial
from radiograft.storage.append_log import AppendLog
from radiograft.training.search.journal import ObjectJournal
from radiograft.training.search.study import SearchRules, SearchStudy, TrialPrunedError
from radiograft.training.tasks.base import AUROC, Monitor
from tests.helpers.search_worker import metric, open_study, work
from tests.repository import ROOT

GOOD = Trial(overrides={}, trainable_weights=1, epochs=1, best_epoch=1, metrics={"val_auroc": 0.7, "val_loss": 0.1})


def objects(uri: str) -> int:
    """Returns the number of objects of the journal."""
    return len(list(storage.list_files(f"{uri}/journal")))


def outcomes(study: SearchStudy) -> list[tuple[int, dict[str, object], float | None, str]]:
    return [(trial.number, trial.params, trial.value, trial.state.name) for trial in study.trials()]


def start_worker(uri: str, worker: int, trials: int, seconds: float = 0.02) -> subprocess.Popen[bytes]:
    arguments = [uri, str(worker), str(trials), str(seconds)]
    return subprocess.Popen([sys.executable, "-m", "tests.helpers.search_worker", *arguments], cwd=ROOT)


def test_study_one_worker_keeps_budget_with_two_objects_a_trial(place: str) -> None:
    study = open_study(place, 0, trials=12)
    work(study)
    assert [trial.number for trial in study.trials()] == list(range(12))
    assert all(trial.state.is_finished() for trial in study.trials())
    assert objects(place) == 1 + 2 * 12
    assert study.trials()[0].params == {"model_dropout": 0.5, "model_l2": 1e-4, "train_optimizer": "adam"}


def test_study_equal_seed_draws_equal_values_and_other_seed_others(tmp_path: Path) -> None:
    studies = [open_study(str(tmp_path / str(n)), 0, trials=8, train_seed=seed) for n, seed in enumerate((0, 0, 1))]
    for study in studies:
        work(study)
    first, again, other = map(outcomes, studies)
    assert first == again
    assert first[0] == other[0]  # the default settings
    assert first[1:] != other[1:]


def kill_after_progress(process: subprocess.Popen[bytes], uri: str, batches: int) -> None:
    """Kills a process when the journal has grown by a number of batches, or when the process has ended."""
    journal = AppendLog(f"{uri}/journal")
    journal.read_new()
    start = journal.position
    while process.poll() is None and journal.position < start + batches:
        time.sleep(0.02)
        journal.read_new()
    process.kill()
    process.wait()


@pytest.mark.parametrize("place", ["local", "gs"], indirect=True)
def test_study_three_killed_workers_lose_no_trial_and_run_none_twice(place: str) -> None:
    """Processes are killed at random times and started again."""
    randomness = random.Random(0)
    workers = {worker: start_worker(place, worker, 30) for worker in range(3)}
    for victim in randomness.sample([0, 1, 2, randomness.randrange(3)], 4):  # each of them, one twice
        kill_after_progress(workers[victim], place, randomness.randint(1, 5))
        workers[victim] = start_worker(place, victim, 30)
    assert [process.wait() for process in workers.values()] == [0, 0, 0]
    trials = open_study(place, 0, 30).trials()
    assert [trial.number for trial in trials] == list(range(30))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert {trial.user_attrs["worker"] for trial in trials} <= {0, 1, 2}
    for trial in trials:
        epochs = trial.intermediate_values
        assert epochs == {epoch: metric(trial.params, epoch) for epoch in epochs}
        assert max(epochs.values()) == trial.user_attrs["result"]["metrics"]["val_auroc"]


def test_study_killed_single_worker_gives_undisturbed_result(tmp_path: Path) -> None:
    undisturbed, uri, randomness = open_study(str(tmp_path / "a"), 0, trials=14), str(tmp_path / "b"), random.Random(1)
    work(undisturbed)
    for _ in range(3):
        kill_after_progress(start_worker(uri, 0, 14, seconds=0.01), uri, randomness.randint(2, 9))
    assert start_worker(uri, 0, 14, seconds=0.0).wait() == 0
    killed = open_study(uri, 0, trials=14)
    assert outcomes(killed) == outcomes(undisturbed)
    assert killed.optuna_study.best_trial.number == undisturbed.optuna_study.best_trial.number


def test_claim_worker_started_again_continues_its_trial(tmp_path: Path) -> None:
    claimed = open_study(str(tmp_path), 1, trials=3).claim()
    other = open_study(str(tmp_path), 2, trials=3).claim()
    again = open_study(str(tmp_path), 1, trials=3).claim()
    assert claimed
    assert other
    assert again
    assert (claimed.number, other.number, again.number) == (0, 1, 0)
    assert again.params == claimed.params


def test_claim_finite_space_ends_when_all_combinations_were_tried(tmp_path: Path) -> None:
    text = '{"optimizer": ["adam", "sgd"], "recipe.schedule": ["constant", "cosine"]}'.replace(
        "recipe.", "train_recipe."
    )
    search = Search(search_space=text, search_trials=100)
    study = SearchStudy(str(tmp_path), SearchRules(parse_space(text), search, None, AUROC, 5), 0)
    while trial := study.claim():
        study.finish(trial.number, GOOD, 1.0, pruned=False)
    tried = {tuple(sorted(trial.params.items())) for trial in study.trials()}
    assert len(study.trials()) == len(tried) == 4


def test_claim_grouped_parameters_run_equal_values_in_sequence(tmp_path: Path) -> None:
    text = '{"backbone": ["densenet121", "resnet50"], "dropout": {"low": 0, "high": 0.5}}'
    search = Search(search_space=text, search_trials=8)
    rules = SearchRules(parse_space(text), search, None, AUROC, 5, grouped=("model_backbone",))
    order = []
    for _ in range(8):  # each time as a new process
        study = SearchStudy(str(tmp_path), rules, 0)
        trial = study.claim()
        assert trial
        order.append(trial.params["model_backbone"])
        study.finish(trial.number, GOOD, 1.0, pruned=False)
    assert len(study.trials()) == 8
    for start in (0, 4):  # four trials are drawn at once; the first of all has the default settings
        group = order[start + (start == 0) : start + 4]
        assert group == sorted(group)


def test_claim_grouped_runs_default_settings_before_the_rest_of_the_group(tmp_path: Path) -> None:
    text = '{"image_size": [64, 96], "dropout": {"low": 0, "high": 0.5}}'
    defaults = {"image_size": 96, "model_dropout": 0.25}
    search = Search(search_space=text, search_trials=8)
    rules = SearchRules(parse_space(text), search, defaults, AUROC, 5, grouped=("image_size",))
    trial = SearchStudy(str(tmp_path), rules, 0).claim()
    assert trial
    assert (trial.number, trial.params) == (0, defaults)


def test_claim_grouped_leaves_trials_for_every_worker(tmp_path: Path) -> None:
    text = '{"image_size": [64, 96], "dropout": {"low": 0, "high": 0.5}}'
    search = Search(search_space=text, search_trials=4, search_workers=2)
    rules = SearchRules(parse_space(text), search, None, AUROC, 5, grouped=("image_size",))
    studies = [SearchStudy(str(tmp_path), rules, worker) for worker in (0, 1)]
    assert all(study.claim() for study in studies)
    assert [trial.user_attrs["worker"] for trial in studies[0].trials()] == [0, 0, 1, 1]


def test_claim_hours_are_over_starts_no_trial(tmp_path: Path) -> None:
    study = open_study(str(tmp_path), 0, trials=10, search_hours=1.0)
    for _ in range(3):
        trial = study.claim()
        assert trial
        study.finish(trial.number, GOOD, 1500.0, pruned=False)
    assert study.claim() is None
    other = open_study(str(tmp_path), 1, trials=10, search_hours=1.0)
    assert other.claim() is not None  # the limit holds for each worker
    assert study.is_time_over() is True


def test_report_worse_than_median_prunes_and_default_settings_never(tmp_path: Path) -> None:
    study = open_study(str(tmp_path), 0, trials=10)
    for _ in range(6):
        trial = study.claim()
        assert trial
        study.report(trial.number, [0.1 if trial.number == 0 else 0.8])
        study.finish(trial.number, GOOD, 1.0, pruned=False)
    trial = study.claim()
    assert trial
    with pytest.raises(TrialPrunedError):
        study.report(trial.number, [0.5])
    study.finish(trial.number, GOOD, 1.0, pruned=True)
    assert study.trials()[6].state == TrialState.PRUNED


def test_report_metric_to_minimize_prunes_the_higher(tmp_path: Path) -> None:
    space, search = parse_space("quick"), Search(search_pruner="median")
    study = SearchStudy(str(tmp_path), SearchRules(space, search, None, Monitor("val_loss", "min"), 5), 0)
    for _ in range(6):
        trial = study.claim()
        assert trial
        study.report(trial.number, [0.3])
        study.finish(trial.number, GOOD, 1.0, pruned=False)
    trial = study.claim()
    assert trial
    with pytest.raises(TrialPrunedError):
        study.report(trial.number, [0.9])


def test_finish_without_flush_writes_reports_before_the_result(tmp_path: Path) -> None:
    study = open_study(str(tmp_path), 0, trials=2)
    trial = study.claim()
    assert trial
    study.report(trial.number, [0.4, 0.5, 0.6])
    before = objects(str(tmp_path))
    assert open_study(str(tmp_path), 1, trials=2).trials()[0].intermediate_values == {}
    study.finish(trial.number, GOOD, 12.34, pruned=False)
    seen = open_study(str(tmp_path), 1, trials=2).trials()[0]
    assert objects(str(tmp_path)) == before + 1
    assert seen.intermediate_values == {1: 0.4, 2: 0.5, 3: 0.6}
    assert (seen.value, seen.user_attrs["seconds"]) == (0.7, 12.3)


def test_journal_reports_are_written_after_an_interval(tmp_path: Path) -> None:
    now = [0.0]
    journal = ObjectJournal(str(tmp_path), flush_seconds=10.0, clock=lambda: now[0])
    report = {"op_code": 7, "worker_id": "a", "trial_id": 0, "step": 1, "intermediate_value": 0.5}
    journal.append_logs([report])
    assert list(ObjectJournal(str(tmp_path)).read_logs(0)) == []
    now[0] = 10.0
    journal.append_logs([report])
    assert list(ObjectJournal(str(tmp_path)).read_logs(0)) == [report, report]


def test_export_is_a_file_that_optuna_dashboard_shows(tmp_path: Path) -> None:
    study = open_study(str(tmp_path / "study"), 0, trials=5)
    work(study)
    study.journal.export(tmp_path / "journal.log")
    dashboard = optuna_dashboard.wsgi(JournalStorage(JournalFileBackend(str(tmp_path / "journal.log"))))
    (listed,) = get_json(dashboard, "/api/studies")["study_summaries"]
    assert listed["study_name"] == "search"
    shown = get_json(dashboard, f"/api/studies/{listed['study_id']}")["trials"]
    assert [trial["values"] for trial in shown] == [[trial.value] for trial in study.trials()]
    assert {each["name"] for each in shown[0]["params"]} == {"model_dropout", "model_l2", "train_optimizer"}


def get_json(application: Any, path: str) -> dict[str, Any]:
    """Returns what a WSGI application answers to a GET request."""
    environ: dict[str, Any] = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    answer = application(environ, lambda *_: None)
    return dict(json.loads(b"".join(answer)))


def test_export_is_a_file_that_optuna_opens(tmp_path: Path) -> None:
    study = open_study(str(tmp_path / "study"), 0, trials=5)
    work(study)
    study.journal.export(tmp_path / "journal.log")
    backend = JournalStorage(JournalFileBackend(str(tmp_path / "journal.log")))
    (opened,) = optuna.get_all_study_summaries(backend)
    assert opened.study_name == "search"
    loaded = optuna.load_study(study_name="search", storage=backend)
    assert [(trial.params, trial.value) for trial in loaded.trials] == [
        (trial.params, trial.value) for trial in study.trials()
    ]
