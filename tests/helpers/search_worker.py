"""A worker of a search without networks: `python -m tests.helpers.search_worker STUDY WORKER TRIALS [SECONDS]`.

A trial has four epochs of SECONDS each; its metric depends on its values only.
"""

from __future__ import annotations

import sys
import time

from radiograft.config import Search
from radiograft.config.search_space import parse_space
from radiograft.registry.training_types import Trial
from radiograft.training.search.study import SearchRules, SearchStudy, TrialPrunedError
from radiograft.training.tasks.base import AUROC

SPACE = (
    '{"dropout": {"low": 0.0, "high": 0.9}, "optimizer": ["adam", "sgd"], '
    '"l2": {"low": 1e-6, "high": 0.1, "log": true}}'
)
EPOCHS = 4


def open_study(uri: str, worker: int, trials: int, **settings: object) -> SearchStudy:
    """Opens the study with a budget of `trials`."""
    search = Search.of({"search_space": SPACE, "search_trials": trials, "search_pruner": "median", **settings})
    defaults = {"model_dropout": 0.5, "model_l2": 1e-4, "train_optimizer": "adam"}
    return SearchStudy(uri, SearchRules(parse_space(SPACE), search, defaults, AUROC, EPOCHS), worker)


def metric(values: dict[str, object], epoch: int) -> float:
    """Returns the metric of an epoch: the best values are dropout 0.3 and adam."""
    gain = 0.1 if values["train_optimizer"] == "adam" else 0.0
    return 0.8 + gain - (float(str(values["model_dropout"])) - 0.3) ** 2 - 0.2 / epoch


def work(study: SearchStudy, seconds: float = 0.0) -> None:
    """Runs trials until the budget is spent."""
    while trial := study.claim():
        values, pruned = list[float](), False
        for epoch in range(1, EPOCHS + 1):
            time.sleep(seconds)
            values.append(metric(trial.params, epoch))
            try:
                study.report(trial.number, values)
            except TrialPrunedError:
                pruned = True
                break
        metrics = {"val_auroc": max(values), "val_loss": 0.5}
        result = Trial(overrides={}, trainable_weights=1, epochs=len(values), best_epoch=len(values), metrics=metrics)
        study.finish(trial.number, result, 1.0, pruned=pruned)


if __name__ == "__main__":
    work(open_study(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])), float(sys.argv[4]))
