"""The honest part of a search: optimism, importance, the paired comparison and the report."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.distributions import FloatDistribution

from radiograft.evaluation.hyperparameter_search import (
    compare_with_defaults,
    estimate_optimism,
    parameter_importance,
)
from radiograft.registry.search_types import Finalist, SearchResults, SearchTrial
from radiograft.reporting.search_report import render_search_report, summarize
from radiograft.training.tasks.multilabel import mean_auroc

RANDOM = np.random.default_rng(0)
TRUTH = np.tile([[0.0], [1.0]], (60, 1)).astype("float32")
PATIENTS = [f"patient {number // 2}" for number in range(120)]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_estimate_optimism_of_guesses_corrects_to_chance() -> None:
    """The best of 40 guesses looks better than chance; on other patients it is not."""
    guesses = [RANDOM.random((120, 1)) for _ in range(40)]
    result = estimate_optimism(TRUTH, guesses, PATIENTS, mean_auroc, folds=5, seed=0)
    assert result is not None
    assert result["apparent"] == max(mean_auroc(TRUTH, guess) for guess in guesses)
    assert result["apparent"] > 0.58
    assert result["corrected"] == pytest.approx(result["apparent"] - result["optimism"])
    assert abs(result["corrected"] - 0.5) < abs(result["apparent"] - 0.5)
    assert (result["folds"], result["repeats"]) == (5, 10)


def test_estimate_optimism_of_clear_winner_is_nearly_none() -> None:
    good = sigmoid(4 * TRUTH - 2 + RANDOM.normal(0, 1, TRUTH.shape))
    result = estimate_optimism(TRUTH, [good, RANDOM.random((120, 1))], PATIENTS, mean_auroc, folds=5, seed=0)
    assert result is not None
    assert abs(result["optimism"]) < 0.01


def test_estimate_optimism_equal_seed_gives_equal_result() -> None:
    guesses = [RANDOM.random((120, 1)) for _ in range(3)]
    first, again = (estimate_optimism(TRUTH, guesses, PATIENTS, mean_auroc, folds=4, seed=7) for _ in range(2))
    assert first == again


def test_estimate_optimism_too_little_is_none() -> None:
    one = [RANDOM.random((120, 1))]
    assert estimate_optimism(TRUTH, one, PATIENTS, mean_auroc, folds=5, seed=0) is None
    assert estimate_optimism(TRUTH, one * 2, ["a"] * 120, mean_auroc, folds=5, seed=0) is None
    assert estimate_optimism(np.zeros_like(TRUTH), one * 2, PATIENTS, mean_auroc, folds=5, seed=0) is None


def test_parameter_importance_follows_the_parameter_that_matters() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    distributions = {"matters": FloatDistribution(0, 1), "idle": FloatDistribution(0, 1)}
    for _ in range(30):
        trial = study.ask(distributions)
        study.tell(trial, -((trial.params["matters"] - 0.5) ** 2))
    importance = parameter_importance(study, seed=0)
    assert list(importance) == ["matters", "idle"]
    assert importance["matters"] > 0.8
    few = optuna.create_study()
    assert parameter_importance(few, seed=0) == {}


def test_compare_with_defaults_interval_is_of_the_paired_difference() -> None:
    rows = pd.DataFrame(
        {"image_id": map(str, range(120)), "patient_id": PATIENTS, "split": "test", "label:Mass": TRUTH[:, 0]}
    )
    noise = RANDOM.normal(0, 1, TRUTH.shape)
    defaults, winner = sigmoid(TRUTH + noise), sigmoid(TRUTH * 1.3 + noise)
    result = compare_with_defaults(rows, ["Mass"], winner, defaults, (200, 0, 1))
    auroc = result["auroc"]
    assert auroc["champion"] is not None
    assert auroc["difference"] is not None
    assert auroc["difference"]["value"] == pytest.approx(mean_auroc(TRUTH, winner) - mean_auroc(TRUTH, defaults))
    widths = [(each["high"] or 0) - (each["low"] or 0) for each in (auroc["difference"], auroc["challenger"])]
    assert widths[0] < widths[1]
    assert (result["labels"], result["n_images"], result["n_patients"]) == (["Mass"], 120, 60)


def results(winner: int) -> SearchResults:
    trials = [
        SearchTrial(
            number=number,
            state=state,
            values={"model_dropout": 0.1 * number, "train_optimizer": "adam"}
            | ({"train_recipe.ema": 0.9} if number else {}),
            metric=metric,
            epochs=3,
            seconds=5.0,
            error=error,
        )
        for number, (state, metric, error) in enumerate(
            [("complete", 0.7, ""), ("complete", 0.8, ""), ("pruned", 0.6, ""), ("failed", None, "diverged <b>")]
        )
    ]
    finalists = [
        Finalist(trial=None, overrides={}, metrics=[0.7, 0.72], mean=0.71),
        Finalist(trial=1, overrides={"model_dropout": 0.1}, metrics=[0.8, 0.78], mean=0.79),
    ]
    difference = {"value": 0.05, "low": -0.01, "high": 0.11}
    value = {"value": 0.8, "low": 0.7, "high": 0.9}
    auroc = {"challenger": value, "champion": value, "difference": difference}
    comparison = {"test": {"auroc": auroc, "labels": ["Mass"], "n_images": 100, "n_patients": 50}} if winner else {}
    return SearchResults(
        metric="val_auroc",
        mode="max",
        strategy="fine_tuning",
        trials=trials,
        finalists=finalists,
        winner=winner,
        optimism={"apparent": 0.8, "optimism": 0.03, "corrected": 0.77, "folds": 5, "repeats": 10},
        importance={"model_dropout": 0.7, "train_optimizer": 0.3},
        comparison=comparison,  # type: ignore[arg-type]
    )


def test_summarize_states_trials_winner_and_difference() -> None:
    assert summarize(results(1)) == (
        "4 trials: 2 complete, 1 stopped early, 1 failed. The winner is trial 1, val_auroc 0.790 over 2 seeds. On test "
        "its AUROC differs from that of the default settings by +0.050 (95% CI -0.010 to +0.110)."
    )
    assert summarize(results(0)) == (
        "4 trials: 2 complete, 1 stopped early, 1 failed. No finalist was better than the default settings."
    )


def test_render_search_report_contains_all_parts_and_escapes_errors() -> None:
    page = render_search_report(results(1), "a title", "2026-11-29T00:00:00+00:00")
    for text in ("Winner against default settings", "Optimism of the choice", "train_optimizer", "diverged &lt;b&gt;"):
        assert text in page
    assert page.count("data:image/svg+xml;base64,") == 2
    assert page == render_search_report(results(1), "a title", "2026-11-29T00:00:00+00:00")
    assert "Winner against default settings" not in render_search_report(results(0), "a title", "2026")
