"""What a search shows while it runs: lines of the log, metrics of a worker, and TensorBoard's HParams tab."""

from __future__ import annotations

import collections
import math
from pathlib import Path

import tensorflow as tf
from optuna.trial import FrozenTrial, TrialState
from tensorboard.plugins.hparams import api as hparams

from radiograft.training.search.study import RESULT, SECONDS, WORKER, SearchStudy
from radiograft.training.tasks.base import Monitor

ENDINGS = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped early", TrialState.FAIL: "failed"}


def trial_name(number: int) -> str:
    """Returns the name of a trial's folders of logs and checkpoints.

    Example:
        >>> trial_name(7)
        'trial-0007'
    """
    return f"trial-{number:04d}"


def describe_progress(study: SearchStudy, number: int) -> str:
    """Returns a line about a finished trial: its metric, the best so far and about how long the search still takes."""
    trials, metric = study.trials(), study.rules.monitor.metric
    finished, best = sum(trial.state.is_finished() for trial in trials), best_trial(study)
    reached = metric_of(trials[number], study.rules.monitor)
    parts = [
        f"trial {number} {ENDINGS[trials[number].state]}" + ("" if reached is None else f": {metric} {reached:.4f}"),
        *([f"best is trial {best.number} with {best.value:.4f}"] if best else []),
        f"{finished} of {study.max_trials} trials, about {minutes_left(study):.0f} min left",
    ]
    return "; ".join(parts)


def best_trial(study: SearchStudy) -> FrozenTrial | None:
    """Returns the complete trial with the best metric of all workers; None before the first."""
    is_complete = any(trial.state == TrialState.COMPLETE for trial in study.trials())
    return study.optuna_study.best_trial if is_complete else None


def metric_of(trial: FrozenTrial, monitor: Monitor) -> float | None:
    """Returns the optimized metric of the epoch that was kept; None if the trial has no result."""
    result = trial.user_attrs.get(RESULT)
    return float(result["metrics"][monitor.metric]) if result else None


def minutes_left(study: SearchStudy) -> float:
    """Estimates how long this worker still trains, from the mean duration of the finished trials and its budget."""
    trials, settings = study.trials(), study.rules.settings
    seconds = [float(trial.user_attrs[SECONDS]) for trial in trials if trial.state.is_finished()]
    if not seconds:
        return math.nan
    left = (study.max_trials - len(seconds)) / settings.search_workers * sum(seconds) / len(seconds)
    if settings.search_hours:
        left = min(left, settings.search_hours * 3600 - study.seconds_of_worker(trials))
    return max(left, 0.0) / 60


def worker_metrics(study: SearchStudy) -> dict[str, float]:
    """Returns what the KFP UI shows of a worker: its trials by outcome, its best metric and that of all workers.

    Names have at most 20 characters, because KFP's comparison of runs cuts longer ones.
    """
    own = [trial for trial in study.trials() if trial.user_attrs.get(WORKER) == study.worker]
    ended, monitor = collections.Counter(trial.state for trial in own), study.rules.monitor
    values = [trial.value for trial in own if trial.state == TrialState.COMPLETE and trial.value is not None]
    best = best_trial(study)
    return {
        "trials": len(own),
        "trials_stopped_early": ended[TrialState.PRUNED],
        "trials_failed": ended[TrialState.FAIL],
        "hours": round(study.seconds_of_worker() / 3600, 3),
        **({"best_of_worker": max(values) if monitor.mode == "max" else min(values)} if values else {}),
        **({"best_so_far": float(best.value or 0.0)} if best else {}),
    }


def write_hparams(logs: Path, trial: FrozenTrial, monitor: Monitor) -> None:
    """Writes the values and the metric of a finished trial as a session of TensorBoard's HParams tab."""
    name, value = trial_name(trial.number), metric_of(trial, monitor)
    if value is None:
        return
    with tf.summary.create_file_writer(str(logs / name)).as_default():
        hparams.hparams(dict(trial.params), trial_id=name)
        tf.summary.scalar(monitor.metric, value, step=trial.user_attrs[RESULT]["epochs"])
