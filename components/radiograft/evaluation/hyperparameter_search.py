"""The honest part of a hyperparameter search: optimism, importance, and the winner against the default settings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from radiograft.data.catalog import prediction_frame
from radiograft.evaluation.backbone_comparison import compare_mean_aurocs, is_estimable
from radiograft.metrics.bootstrap import encode_patients
from radiograft.registry.search_types import Optimism, SplitComparison

Measure = Callable[[np.ndarray, np.ndarray], float]
REPEATS = 10  # divisions of the patients into folds
MIN_TRIALS_FOR_IMPORTANCE = 8  # fANOVA fits a random forest to the trials
STATES = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}


def estimate_optimism(
    truth: np.ndarray, scores: Sequence[np.ndarray], patients: Sequence[str], measure: Measure, folds: int, seed: int
) -> Optimism | None:
    """Estimates by how much the metric of the best trial is too high, by nested resampling of the validation patients.

    The patients are divided into folds. The trial that is best on all other folds is measured on the remaining one; the
    difference of both metrics, averaged over folds and divisions, is the optimism. No network is trained for this, so
    the choice of epochs, which each trial made on all validation images, is not part of it.

    Args:
        truth: validation labels, float32 [images, labels], NaN where unknown.
        scores: predictions of each complete trial, float32 [images, labels].
        patients: patient of each image.
        measure: returns a metric, of which higher is better, for truth and scores of some images; raises ValueError if
            it cannot be estimated on them.
        folds: number of folds.
        seed: of the divisions.

    Returns:
        None if there are fewer than two trials, or the metric cannot be estimated on any fold.
    """
    codes = encode_patients(patients)
    if len(scores) < 2 or int(codes.max()) + 1 < folds:
        return None
    generator, differences = np.random.default_rng(seed), []
    for _ in range(REPEATS):
        fold_of_patient = generator.permutation(int(codes.max()) + 1) % folds
        for fold in range(folds):
            held_out = fold_of_patient[codes] == fold
            difference = _difference(truth, scores, held_out, measure)
            if difference is not None:
                differences.append(difference)
    if not differences:
        return None
    apparent = max(measure(truth, each) for each in scores)
    optimism = float(np.mean(differences))
    return Optimism(apparent=apparent, optimism=optimism, corrected=apparent - optimism, folds=folds, repeats=REPEATS)


def _difference(
    truth: np.ndarray, scores: Sequence[np.ndarray], held_out: np.ndarray, measure: Measure
) -> float | None:
    """Returns the metric by which a trial is chosen minus that on the held-out images; None if not estimable."""
    try:
        chosen_by = [measure(truth[~held_out], each[~held_out]) for each in scores]
        best = int(np.argmax(chosen_by))
        return chosen_by[best] - measure(truth[held_out], scores[best][held_out])
    except ValueError:
        return None


def parameter_importance(study: optuna.Study, seed: int) -> dict[str, float]:
    """Returns the share of the metric's variance that each parameter explains (fANOVA, Hutter et al. 2014).

    The shares sum to 1. Conditional parameters are not included, because not every trial has them.
    """
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    if len(complete) < MIN_TRIALS_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
        return {}
    common = set.intersection(*(set(trial.params) for trial in complete))
    if not any(len({trial.params[name] for trial in complete}) > 1 for name in common):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def compare_with_defaults(
    rows: pd.DataFrame,
    labels: Sequence[str],
    winner: np.ndarray,
    defaults: np.ndarray,
    options: tuple[int, int, int],
) -> SplitComparison:
    """Compares the mean AUROC of two networks on the same images, with an interval that resamples patients in pairs.

    Args:
        rows: catalog rows of the split.
        labels: names of the labels.
        winner, defaults: predictions of both networks, float32 [images, labels].
        options: number of resamples, seed, and minimum number of patients with, and without, a label.
    """
    samples, seed, min_patients = options
    estimable = [label for label in labels if is_estimable(rows, label, min_patients)]
    frames = [prediction_frame(rows, labels, scores) for scores in (winner, defaults)]
    return SplitComparison(
        auroc=compare_mean_aurocs(frames, estimable, samples, seed),
        labels=estimable,
        n_images=len(rows),
        n_patients=int(rows["patient_id"].nunique()),
    )


def finished_state(trial: FrozenTrial) -> str | None:
    """Returns `complete`, `pruned` or `failed`; None for a trial that has not ended."""
    return STATES.get(trial.state)
