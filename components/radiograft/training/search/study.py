"""A hyperparameter search that several workers share: who runs which trial, what it reports, and when it ends."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from radiograft import storage
from radiograft.config import Search
from radiograft.config.base import Scalar
from radiograft.config.search_parameters import Parameter, SearchSpace
from radiograft.registry.training_types import Trial
from radiograft.training.search.journal import ObjectJournal
from radiograft.training.tasks.base import Monitor

optuna.logging.set_verbosity(optuna.logging.WARNING)

STUDY = "search"  # name of the study; each study has its own folder
JOURNAL = "journal"
RESULT, SECONDS, ERROR, WORKER = "result", "seconds", "error", "worker"  # user attributes of a trial
MIN_RANDOM_TRIALS = 10  # before the sampler models the results, as Optuna's default
GROUP = 4  # trials that a worker draws at once if their order matters
REDUCTION = 3  # of Hyperband: a third of the trials of a rung reaches the next one


@dataclasses.dataclass(frozen=True)
class SearchRules:
    """What is searched and how; equal for all workers of a study.

    Attributes:
        space: the parameters.
        settings: budget, pruner and seed.
        defaults: values of the first trial; None if the default settings are not in the space.
        monitor: the validation metric that is optimized.
        max_epochs: largest number of epochs of a trial.
        grouped: parameters that change what trials can share. If there are any, a worker draws GROUP trials at once and
            runs those with equal values one after the other.
    """

    space: SearchSpace
    settings: Search
    defaults: Mapping[str, Scalar] | None
    monitor: Monitor
    max_epochs: int
    grouped: tuple[str, ...] = ()


class TrialPrunedError(Exception):
    """A trial was stopped after an epoch, because earlier trials were better or the time is over."""


class SearchStudy:
    """An Optuna study below a URI. Each worker opens it for itself.

    A trial is created with all of its values in one append that fails if another worker was faster, so no trial exceeds
    the budget. A worker that is killed and started again continues its own trial. The values of a trial depend only on
    the seed and the results before it.
    """

    def __init__(self, uri: str, rules: SearchRules, worker: int) -> None:
        self.rules, self.worker = rules, worker
        self._journal = ObjectJournal(storage.join(uri, JOURNAL))
        self._storage = optuna.storages.JournalStorage(self._journal)
        direction = "maximize" if rules.monitor.mode == "max" else "minimize"
        pruner = _build_pruner(rules.settings.search_pruner, rules.max_epochs)
        self._options: dict[str, Any] = {"study_name": STUDY, "direction": direction, "pruner": pruner}
        sampler = optuna.samplers.RandomSampler()  # not used: `_draw` draws the values
        if self._storage.get_all_studies():
            self._study = optuna.load_study(study_name=STUDY, storage=self._storage, sampler=sampler, pruner=pruner)
        else:  # or another worker creates it at the same time
            options = {"sampler": sampler, "load_if_exists": True, **self._options}
            self._study = optuna.create_study(storage=self._storage, **options)

    @property
    def journal(self) -> ObjectJournal:
        """The journal of the study."""
        return self._journal

    @property
    def optuna_study(self) -> optuna.Study:
        """The study, for Optuna's analyses."""
        return self._study

    def trials(self) -> list[FrozenTrial]:
        """Returns all trials by number, with the latest reports of all workers."""
        return self._study.get_trials(deepcopy=False)

    def claim(self) -> FrozenTrial | None:
        """Returns the trial that this worker has not finished, or a new one; None if the search has ended."""
        while True:
            trials = self.trials()
            own = [trial for trial in trials if trial.user_attrs.get(WORKER) == self.worker]
            unfinished = [trial for trial in own if trial.state == TrialState.RUNNING]
            is_complete = not self.rules.grouped or len(trials) % self._group_size == 0
            ends = len(trials) >= self.rules.settings.search_trials or self.is_time_over(trials)
            if unfinished and (is_complete or ends):
                return min(unfinished, key=self._group)
            values = None if ends else self._next_values(trials)
            if values is None:
                return min(unfinished, key=self._group, default=None)
            with contextlib.suppress(FileExistsError), self._journal.only_if_unchanged():
                self._study.add_trial(self._make_trial(values))

    @property
    def _group_size(self) -> int:
        """Number of trials that a worker draws at once, so few that none is left without trials."""
        settings = self.rules.settings
        return min(GROUP, math.ceil(settings.search_trials / settings.search_workers))

    def _group(self, trial: FrozenTrial) -> tuple[bool, str, int]:
        """Returns a key that sorts trials: the default settings first, then those that share most."""
        shared = [trial.params.get(name) for name in self.rules.grouped]
        return trial.number > 0, json.dumps(shared), trial.number

    @property
    def max_trials(self) -> int:
        """Number of trials after which the search ends: the budget, or all combinations of a finite space."""
        grid, budget = self.rules.space.grid(), self.rules.settings.search_trials
        return budget if grid is None else min(budget, len(grid))

    def is_time_over(self, trials: Sequence[FrozenTrial] | None = None, running_seconds: float = 0.0) -> bool:
        """Returns whether this worker has trained for `search_hours`.

        Args:
            trials: all trials, if they are known.
            running_seconds: duration of the trial that runs.
        """
        hours = self.rules.settings.search_hours
        return 0 < hours * 3600 <= self.seconds_of_worker(trials) + running_seconds

    def seconds_of_worker(self, trials: Sequence[FrozenTrial] | None = None) -> float:
        """Returns for how long this worker has trained finished trials, in seconds."""
        own = (trial for trial in trials or self.trials() if trial.user_attrs.get(WORKER) == self.worker)
        return sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial in own)

    def report(self, number: int, values: Sequence[float]) -> None:
        """Records the metric of every finished epoch; those that are recorded already are skipped.

        Raises:
            TrialPrunedError: the trial should stop.
        """
        trial_id = self._trial_id(number)
        known = self._storage.get_trial(trial_id).intermediate_values
        for epoch, value in enumerate(values, start=1):
            if epoch not in known:
                self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        trial = self._storage.get_trial(trial_id)
        is_first = number == 0 and self.rules.defaults is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if not is_first and self._study.pruner.prune(self._study, trial):
                raise TrialPrunedError

    def finish(self, number: int, result: Trial, seconds: float, *, pruned: bool) -> None:
        """Records the result of a trial, and whether it was stopped early."""
        value = result["metrics"][self.rules.monitor.metric]
        self._set(number, **{RESULT: dict(result), SECONDS: round(seconds, 1)})
        self._study.tell(number, None if pruned else value, TrialState.PRUNED if pruned else TrialState.COMPLETE)

    def fail(self, number: int, error: str, seconds: float) -> None:
        """Records that a trial failed."""
        self._set(number, **{ERROR: error, SECONDS: round(seconds, 1)})
        self._study.tell(number, state=TrialState.FAIL)

    def _set(self, number: int, **attributes: Any) -> None:
        trial_id = self._trial_id(number)
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(trial_id, name, value)

    def _trial_id(self, number: int) -> int:
        study_id = self._storage.get_study_id_from_name(STUDY)
        return self._storage.get_trial_id_from_study_id_trial_number(study_id, number)

    def _make_trial(self, values: Mapping[str, Scalar]) -> FrozenTrial:
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=dict(values),
            distributions={name: to_distribution(self.rules.space.parameters[name]) for name in values},
            user_attrs={WORKER: self.worker},
        )

    def _next_values(self, trials: Sequence[FrozenTrial]) -> dict[str, Scalar] | None:
        """Returns the values of the next trial; None if every combination was tried."""
        if not trials and self.rules.defaults is not None:
            return dict(self.rules.defaults)
        drawn = self._draw(trials)
        grid = self.rules.space.grid()
        if grid is None:
            return drawn
        tried = [trial.params for trial in trials]
        return next((values for values in (drawn, *grid) if values not in tried), None)

    def _draw(self, trials: Sequence[FrozenTrial]) -> dict[str, Scalar]:
        """Draws values with TPE, in a copy of the study, so that nothing is stored before all values are known."""
        (seed,) = np.random.SeedSequence([self.rules.settings.train_seed, len(trials)]).generate_state(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=int(seed),
                n_startup_trials=MIN_RANDOM_TRIALS,
                multivariate=True,
                group=True,
                constant_liar=True,  # trials that run count as poor, so that workers do not draw the same values
            )
            draft = optuna.create_study(sampler=sampler, **self._options)
            draft.add_trials(trials)
            trial = draft.ask()
            values: dict[str, Scalar] = {}
            for name, parameter in self.rules.space.parameters.items():
                if parameter.is_active(values):
                    values[name] = _suggest(trial, parameter)
        return values


def _build_pruner(name: str, max_epochs: int) -> optuna.pruners.BasePruner:
    if name == "hyperband":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.pruners.HyperbandPruner(1, max_epochs, REDUCTION)
    return optuna.pruners.MedianPruner() if name == "median" else optuna.pruners.NopPruner()


def to_distribution(parameter: Parameter) -> BaseDistribution:
    """Returns the parameter as Optuna describes it."""
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    if parameter.is_integer:
        step = int(parameter.step or 1)
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log, step=step)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Scalar:
    value: Scalar
    if parameter.choices:
        value = trial.suggest_categorical(parameter.name, parameter.choices)  # type: ignore[assignment]  # not None
    elif parameter.is_integer:
        low, high, step = int(parameter.low), int(parameter.high), int(parameter.step or 1)
        value = trial.suggest_int(parameter.name, low, high, log=parameter.log, step=step)
    else:
        value = trial.suggest_float(
            parameter.name, parameter.low, parameter.high, log=parameter.log, step=parameter.step
        )
    return value
