"""The end of a hyperparameter search: finalists with several seeds, the choice, the comparison and the report."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import yaml
from optuna.trial import FrozenTrial

from radiograft.config import Evaluate, Search, all_settings
from radiograft.config.base import Scalar
from radiograft.config.resolution import resolve_trial
from radiograft.config.search import resolve_strategy
from radiograft.config.search_parameters import to_assignments
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation.hyperparameter_search import (
    compare_with_defaults,
    estimate_optimism,
    finished_state,
    parameter_importance,
)
from radiograft.models.predictor import Predictor
from radiograft.registry.production import utc_now
from radiograft.registry.search_types import Finalist, Optimism, SearchResults, SearchTrial, SplitComparison
from radiograft.reporting.search_report import render_search_report, summarize
from radiograft.search import progress, task
from radiograft.search.runner import TrialInputs, TrialRunner, task_of
from radiograft.training.history import History
from radiograft.training.search.study import ERROR, RESULT, SECONDS, SearchStudy
from radiograft.training.tasks.base import AUROC, Monitor

log = logging.getLogger(__name__)

RESULTS, REPORT, SETTINGS, JOURNAL = "search_results.json", "search.html", "best.yaml", "journal.log"
SPLITS = ("validation", "test")


class FinalTraining(NamedTuple):
    """A finalist and, with the first seed, its predictions by split, float32 [images, labels]."""

    finalist: Finalist
    scores: dict[str, np.ndarray]


class _Unobserved:
    """Follows a training that is never stopped."""

    def on_epochs(self, history: History) -> None:
        """Does nothing."""

    def on_trained(self, history: History, scores: np.ndarray) -> None:
        """Does nothing."""


def run(settings: Mapping[str, Scalar], inputs: TrialInputs, output: Path) -> SearchResults:
    """Chooses the winner of a search, after all workers have ended, and writes the results to `output`.

    They are search_results.json, the report search.html, the winner's settings best.yaml, and the study as
    journal.log, a file of Optuna's JournalFileBackend.

    Raises:
        RuntimeError: no trial is complete.
    """
    study, runner = task.open_study(settings, inputs), task.build_runner(settings, inputs)
    trials, monitor = study.trials(), study.rules.monitor
    _write_missing_hparams(inputs.logs, trials, monitor)
    rows = [_describe(trial, monitor) for trial in trials if finished_state(trial)]
    best = _best_trials(trials, study)
    strategy = resolve_strategy(settings)
    candidates: list[FrozenTrial | None] = [None, *best]
    finals = [_train_finalist(runner, study, strategy, trial) for trial in candidates]
    finalists = [final.finalist for final in finals]
    sign = 1 if monitor.mode == "max" else -1
    winner = max(range(len(finalists)), key=lambda place: sign * finalists[place]["mean"])  # of equal ones the first
    results = SearchResults(
        metric=monitor.metric,
        mode=monitor.mode,
        strategy=strategy,
        trials=rows,
        finalists=finalists,
        winner=winner,
        optimism=_estimate_optimism(settings, inputs, trials, monitor),
        importance=parameter_importance(study.optuna_study, int(settings["train_seed"])),
        comparison=_compare(settings, runner, monitor, finals, winner),
    )
    _write(settings, study, results, output)
    log.info(summarize(results))
    return results


def _write_missing_hparams(logs: Path, trials: list[FrozenTrial], monitor: Monitor) -> None:
    """Writes the HParams session of each trial whose logs were lost with a killed pod."""
    for trial in trials:
        if not (logs / progress.trial_name(trial.number)).is_dir():
            progress.write_hparams(logs, trial, monitor)


def _describe(trial: FrozenTrial, monitor: Monitor) -> SearchTrial:
    result = trial.user_attrs.get(RESULT)
    return SearchTrial(
        number=trial.number,
        state=finished_state(trial) or "",
        values=dict(trial.params),
        metric=progress.metric_of(trial, monitor),
        epochs=result["epochs"] if result else 0,
        seconds=trial.user_attrs.get(SECONDS, 0.0),
        error=trial.user_attrs.get(ERROR, ""),
    )


def _best_trials(trials: list[FrozenTrial], study: SearchStudy) -> list[FrozenTrial]:
    """Returns the best complete trials, the best first, without the default settings.

    Raises:
        RuntimeError: no trial is complete.
    """
    complete = [trial for trial in trials if finished_state(trial) == "complete"]
    if not complete:
        errors = [trial.user_attrs[ERROR] for trial in trials if ERROR in trial.user_attrs]
        raise RuntimeError(f"a search must have a complete trial, got none of {len(trials)}: {'; '.join(errors[:3])}")
    others = [trial for trial in complete if trial.params != study.rules.defaults]
    key = study.rules.monitor.selection_key
    others.sort(key=lambda trial: key(trial.user_attrs[RESULT]["metrics"]), reverse=True)
    return others[: study.rules.settings.search_finalists]


def _train_finalist(runner: TrialRunner, study: SearchStudy, strategy: str, trial: FrozenTrial | None) -> FinalTraining:
    """Trains a finalist, or the default settings, with several seeds."""
    values = trial.params if trial else {}
    name = progress.trial_name(trial.number) if trial else "defaults"
    metrics, scores = list[float](), dict[str, np.ndarray]()

    def predict(network: keras.Model, data: Shards) -> None:
        if not metrics:  # with the first seed
            predictor = Predictor(network, runner.strategy)
            for split in SPLITS:
                scores[split] = predictor.predict(data.inputs(split, int(runner.settings["train_batch_size"])))

    for place in range(study.rules.settings.search_seeds):
        settings = {**resolve_trial(runner.settings, values), "train_seed": int(runner.settings["train_seed"]) + place}
        result = runner.train(strategy, settings, _Unobserved(), f"final-{name}-seed-{place}", predict)
        metrics.append(result["metrics"][study.rules.monitor.metric])
    overrides = to_assignments(runner.settings, values)
    finalist = Finalist(
        trial=trial.number if trial else None, overrides=overrides, metrics=metrics, mean=float(np.mean(metrics))
    )
    log.info("%s: mean %s %.4f over %d seeds", name, study.rules.monitor.metric, finalist["mean"], len(metrics))
    return FinalTraining(finalist, scores)


def _estimate_optimism(
    settings: Mapping[str, Scalar], inputs: TrialInputs, trials: list[FrozenTrial], monitor: Monitor
) -> Optimism | None:
    data = Shards.read(inputs.shards)
    training_task, sign = task_of(data), 1 if monitor.mode == "max" else -1
    scores = [task.read_scores(inputs, trial.number) for trial in trials if finished_state(trial) == "complete"]
    estimate = estimate_optimism(
        data.split_targets("validation"),
        scores,
        list(data.split("validation")["patient_id"]),
        lambda truth, predicted: sign * training_task.evaluate(truth, predicted)[monitor.metric],
        Search.of(settings).search_folds,
        int(settings["train_seed"]),
    )
    if estimate is None:
        return None
    apparent, corrected = sign * estimate["apparent"], sign * estimate["corrected"]
    return {**estimate, "apparent": apparent, "corrected": corrected}


def _compare(
    settings: Mapping[str, Scalar], runner: TrialRunner, monitor: Monitor, finals: list[FinalTraining], winner: int
) -> dict[str, SplitComparison]:
    """Compares the winner with the default settings, on test for the first and only time."""
    if winner == 0 or monitor != AUROC:
        return {}
    data, evaluate = runner.data(settings), Evaluate.of(settings)
    options = evaluate.evaluate_bootstrap_samples, evaluate.train_seed, evaluate.evaluate_min_patients
    return {
        split: compare_with_defaults(
            data.split(split), data.labels, finals[winner].scores[split], finals[0].scores[split], options
        )
        for split in SPLITS
    }


def _write(settings: Mapping[str, Scalar], study: SearchStudy, results: SearchResults, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    (output / RESULTS).write_text(json.dumps(results, indent=2), encoding="utf-8")
    title = f"{settings['model_backbone']}, {settings['search_trials']} trials"
    (output / REPORT).write_text(render_search_report(results, title, utc_now()), encoding="utf-8")
    (output / SETTINGS).write_text(best_settings(settings, results), encoding="utf-8")
    study.journal.export(output / JOURNAL)


def winner_settings(settings: Mapping[str, Scalar], results: SearchResults) -> dict[str, Scalar]:
    """Returns the settings of all stages with which the winner was trained; a new backbone has its own cut-off."""
    return resolve_trial(settings, results["finalists"][results["winner"]]["overrides"])


def best_settings(settings: Mapping[str, Scalar], results: SearchResults) -> str:
    """Returns the winner's settings as a settings file: those that differ from their defaults."""
    chosen = winner_settings(settings, results)
    defaults = {name: field.default for name, field in all_settings().items()}
    # The default cut-off depends on the backbone, so it is always written.
    changed = {
        name: value
        for name, value in sorted(chosen.items())
        if (value != defaults[name] or name == "model_cut_off") and not name.startswith("search_")
    }
    return yaml.safe_dump(changed, sort_keys=True, allow_unicode=True)
