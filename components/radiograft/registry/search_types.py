"""Types of the results of a hyperparameter search."""

from __future__ import annotations

from typing import TypedDict

from radiograft.registry.result_types import AurocComparison

Value = bool | int | float | str


class SearchTrial(TypedDict):
    """One trial.

    Attributes:
        number: counted from 0.
        state: `complete`, `pruned` (stopped early) or `failed`.
        values: values of the searched parameters.
        metric: the optimized validation metric of the epoch that was kept; None if the trial failed.
        epochs: number of epochs that were run.
        seconds: duration.
        error: why it failed, else empty.
    """

    number: int
    state: str
    values: dict[str, Value]
    metric: float | None
    epochs: int
    seconds: float
    error: str


class Finalist(TypedDict):
    """A candidate that was trained with several seeds; `trial` is None for the default settings.

    Attributes:
        overrides: the settings in which it differs from the settings of the search.
        metrics: the optimized validation metric by seed.
        mean: their mean.
    """

    trial: int | None
    overrides: dict[str, Value]
    metrics: list[float]
    mean: float


class Optimism(TypedDict):
    """How far the best trial's metric is too good, because the trial was chosen by it.

    `apparent` is the metric of the best trial, `corrected` the same made worse by `optimism`.
    """

    apparent: float
    optimism: float
    corrected: float
    folds: int
    repeats: int


class SplitComparison(TypedDict):
    """The winner (challenger) and the default settings (champion) on the same images of a split."""

    auroc: AurocComparison
    labels: list[str]
    n_images: int
    n_patients: int


class SearchResults(TypedDict):
    """A finished search.

    Attributes:
        metric: name of the optimized validation metric.
        mode: `max` or `min`, the better direction.
        strategy: `feature_extraction` or `fine_tuning`.
        trials: all trials.
        finalists: the default settings, then the best trials.
        winner: place of the winner among the finalists.
        optimism: None with fewer than two complete trials, or too few patients.
        importance: share of the variance of the metric that each parameter explains (fANOVA); empty if there are too
            few complete trials.
        comparison: by split; empty if the winner are the default settings or the metric is not the AUROC.
    """

    metric: str
    mode: str
    strategy: str
    trials: list[SearchTrial]
    finalists: list[Finalist]
    winner: int
    optimism: Optimism | None
    importance: dict[str, float]
    comparison: dict[str, SplitComparison]
