"""One worker of a hyperparameter search: it draws trials and trains them until the budget is spent."""

from __future__ import annotations

import io
import itertools
import logging
import time
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf
from optuna.trial import FrozenTrial

from radiograft import storage
from radiograft.config import FineTune, Search
from radiograft.config.base import Scalar
from radiograft.config.resolution import resolve_trial
from radiograft.config.search import FEATURE_EXTRACTION, resolve_strategy
from radiograft.config.search_parameters import to_assignments
from radiograft.data.shards.dataset import Shards
from radiograft.search.progress import describe_progress, trial_name, write_hparams
from radiograft.search.runner import CACHE_SETTINGS, TrialInputs, TrialRunner, task_of
from radiograft.training import devices
from radiograft.training.history import History
from radiograft.training.search.results import make_trial
from radiograft.training.search.study import SearchRules, SearchStudy, TrialPrunedError
from radiograft.training.tasks.base import Monitor

log = logging.getLogger(__name__)

STUDY, SCORES = "study", "scores"  # below the checkpoints of the search
Settings = Mapping[str, Scalar]


def search_rules(settings: Settings, monitor: Monitor) -> SearchRules:
    """Returns the rules of the search that the settings describe.

    Raises:
        ValueError: as `resolve_strategy`.
    """
    search, strategy = Search.of(settings), resolve_strategy(settings)
    space = search.space(str(settings["model_backbone"]))
    epochs = "train_feature_epochs" if strategy == FEATURE_EXTRACTION else "train_fine_tune_epochs"
    searched = space.parameters.get(epochs)
    most = int(settings[epochs])
    if searched:
        most = int(max(map(int, searched.choices), default=int(searched.high)))
    grouped = tuple(name for name in CACHE_SETTINGS if name in space.parameters)
    return SearchRules(space, search, space.of(settings), monitor, most, grouped)


def open_study(settings: Settings, inputs: TrialInputs, worker: int = 0) -> SearchStudy:
    """Opens the study of a search for a worker."""
    data = Shards.read(inputs.shards)
    rules = search_rules(settings, task_of(data).monitor)
    return SearchStudy(storage.join(inputs.checkpoints.uri, STUDY), rules, worker)


def build_runner(settings: Settings, inputs: TrialInputs) -> TrialRunner:
    """Sets seed and precision and returns the runner of a worker."""
    devices.make_reproducible(int(settings["train_seed"]))
    keras.mixed_precision.set_global_policy(devices.choose_precision(FineTune.of(settings).train_precision))
    searched = Search.of(settings).space(str(settings["model_backbone"])).parameters.get("model_cut_off")
    cut_offs = tuple(map(str, searched.choices)) if searched else ()
    return TrialRunner(settings, cut_offs, inputs, devices.distribution_strategy())


def run(settings: Settings, inputs: TrialInputs, worker: int = 0) -> SearchStudy:
    """Runs trials until none is left or the budget of the worker is spent.

    A worker that is started again after it was killed continues the trial that it ran, after the last finished epoch.

    Args:
        settings: settings of all stages.
        inputs: folders and checkpoints.
        worker: number of the worker; two workers that run at the same time must differ.

    Returns:
        The study as this worker sees it at its end.

    Raises:
        ValueError: the settings do not allow a search, see `resolve_strategy`.
    """
    study, runner = open_study(settings, inputs, worker), build_runner(settings, inputs)
    strategy = resolve_strategy(settings)
    while trial := study.claim():
        _run_trial(study, runner, strategy, trial)
        storage.delete_tree(storage.join(inputs.checkpoints.uri, trial_name(trial.number)))
    return study


class StudyObserver:
    """Reports the epochs of a trial to the study and stops poor trials.

    Attributes:
        history: all epochs so far.
        scores: validation scores of the weights that were kept; None before the end.
    """

    def __init__(self, study: SearchStudy, number: int) -> None:
        self.study, self.number, self.started = study, number, time.monotonic()
        self.history, self.scores = History([], 0, {}), np.empty(0)

    @property
    def seconds(self) -> float:
        """Seconds since the start of the trial."""
        return time.monotonic() - self.started

    def on_epochs(self, history: History) -> None:
        """Reports the best metric so far of each epoch; raises TrialPrunedError if the trial should stop."""
        self.history, monitor = history, self.study.rules.monitor
        values = [row[monitor.metric] for row in (history.initial, *history.epochs)]  # training may keep epoch 0
        best = itertools.accumulate(values, max if monitor.mode == "max" else min)
        self.study.report(self.number, list(best)[1:])
        if self.study.is_time_over(running_seconds=self.seconds):
            raise TrialPrunedError

    def on_trained(self, history: History, scores: np.ndarray) -> None:
        """Keeps the scores."""
        self.history, self.scores = history, scores


def _run_trial(study: SearchStudy, runner: TrialRunner, strategy: str, trial: FrozenTrial) -> None:
    """Trains one trial and records how it ended."""
    observer, name = StudyObserver(study, trial.number), trial_name(trial.number)
    overrides = to_assignments(runner.settings, trial.params)
    try:
        result = runner.train(strategy, resolve_trial(runner.settings, trial.params), observer, name)
        pruned = False
        write_scores(runner.inputs, trial.number, observer.scores)
    except TrialPrunedError:
        result, pruned = make_trial({}, 0, observer.history), True
    except (ValueError, TypeError, FloatingPointError, OSError, tf.errors.ResourceExhaustedError) as error:
        log.warning("trial %d failed: %s", trial.number, error)
        study.fail(trial.number, str(error)[:500], observer.seconds)
        return
    result = {**result, "overrides": overrides}
    study.finish(trial.number, result, observer.seconds, pruned=pruned)
    write_hparams(runner.inputs.logs, study.trials()[trial.number], study.rules.monitor)
    log.info(describe_progress(study, trial.number))


def write_scores(inputs: TrialInputs, number: int, scores: np.ndarray) -> None:
    """Stores the validation scores of a trial, float32 [images, labels], beside the study."""
    content = io.BytesIO()
    np.save(content, scores)
    storage.write_bytes(_scores_uri(inputs, number), content.getvalue())


def read_scores(inputs: TrialInputs, number: int) -> np.ndarray:
    """Returns the validation scores that `write_scores` stored."""
    scores: np.ndarray = np.load(io.BytesIO(storage.read_bytes(_scores_uri(inputs, number))), allow_pickle=False)
    return scores


def _scores_uri(inputs: TrialInputs, number: int) -> str:
    return storage.join(inputs.checkpoints.uri, SCORES, f"{number}.npy")
