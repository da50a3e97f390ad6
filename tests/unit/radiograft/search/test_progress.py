"""What a search shows while it runs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from radiograft.registry.training_types import Trial
from radiograft.search.progress import describe_progress, minutes_left, worker_metrics
from radiograft.training.search.study import SearchStudy
from tests.helpers.search_worker import open_study


def end_trial(study: SearchStudy, auroc: float | None, seconds: float, *, pruned: bool = False) -> int:
    """Claims a trial and records how it ended; without a metric it failed."""
    trial = study.claim()
    assert trial
    if auroc is None:
        study.fail(trial.number, "no memory", seconds)
    else:
        metrics = {"val_auroc": auroc, "val_loss": 0.5}
        result = Trial(overrides={}, trainable_weights=1, epochs=3, best_epoch=2, metrics=metrics)
        study.finish(trial.number, result, seconds, pruned=pruned)
    return trial.number


def test_describe_progress_names_metric_best_and_time_left(tmp_path: Path) -> None:
    study = open_study(str(tmp_path), 0, trials=12, search_workers=2)
    assert describe_progress(study, end_trial(study, 0.75, 60.0)) == (
        "trial 0 done: val_auroc 0.7500; best is trial 0 with 0.7500; 1 of 12 trials, about 6 min left"
    )
    assert describe_progress(study, end_trial(study, 0.5, 180.0, pruned=True)) == (
        "trial 1 stopped early: val_auroc 0.5000; best is trial 0 with 0.7500; 2 of 12 trials, about 10 min left"
    )
    assert describe_progress(study, end_trial(study, None, 60.0)) == (
        "trial 2 failed; best is trial 0 with 0.7500; 3 of 12 trials, about 8 min left"
    )


def test_describe_progress_before_a_complete_trial_names_no_best(tmp_path: Path) -> None:
    study = open_study(str(tmp_path), 0, trials=2)
    assert describe_progress(study, end_trial(study, None, 30.0)) == "trial 0 failed; 1 of 2 trials, about 0 min left"


def test_minutes_left_hours_end_before_trials(tmp_path: Path) -> None:
    study = open_study(str(tmp_path), 0, trials=100, search_hours=1.0)
    assert math.isnan(minutes_left(study))
    end_trial(study, 0.75, 2400.0)
    assert minutes_left(study) == pytest.approx(20)


def test_worker_metrics_count_own_trials_and_name_the_best_of_all(tmp_path: Path) -> None:
    first, second = (open_study(str(tmp_path), worker, trials=10) for worker in (0, 1))
    end_trial(first, 0.75, 1800.0)
    end_trial(first, 0.5, 900.0, pruned=True)
    end_trial(second, 0.875, 3600.0)
    end_trial(first, None, 900.0)
    assert worker_metrics(first) == {
        "trials": 3,
        "trials_stopped_early": 1,
        "trials_failed": 1,
        "hours": 1.0,
        "best_of_worker": 0.75,
        "best_so_far": 0.875,
    }


def test_worker_metrics_without_trials_are_zero(tmp_path: Path) -> None:
    metrics = worker_metrics(open_study(str(tmp_path), 3, trials=10))
    assert metrics == {"trials": 0, "trials_stopped_early": 0, "trials_failed": 0, "hours": 0.0}
