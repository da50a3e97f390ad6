"""The promotion gate of numbers: a minimum of R², and the paired mean absolute error against production."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from radiograft.evaluation.promotion_gate import Champion
from radiograft.evaluation.regression_gate import ErrorPolicy, decide_promotion
from radiograft.metrics.regression import Reference, evaluate_targets
from radiograft.registry.result_types import GateDecision

PATIENTS = 60
TRUTH = np.linspace(20, 80, PATIENTS)
SAMPLES = 200


def predictions(noise: float, offset: float = 0.0) -> pd.DataFrame:
    ids = [f"p{number:02d}" for number in range(PATIENTS)]
    errors = noise * np.random.default_rng(0).normal(size=PATIENTS) + offset
    return pd.DataFrame(
        {"image_id": ids, "patient_id": ids, "split": "test", "label:age": TRUTH, "score:age": TRUTH + errors}
    )


def decide(
    challenger: pd.DataFrame, champion: Champion | None = None, margin: float = 0.02, min_r2: float = 0.0
) -> GateDecision:
    metrics = evaluate_targets(challenger, {"age": Reference(50.0, 50.0)}, SAMPLES, 0, 10)["regression"]
    return decide_promotion(challenger, champion, metrics, ErrorPolicy(margin, min_r2, 10), SAMPLES, 0)


def test_decide_promotion_accurate_first_version_is_promoted() -> None:
    decision = decide(predictions(5))
    assert decision["promote"]
    assert decision["reasons"][0].startswith("the 95% interval of R² of age must lie above 0, and is 0.")
    assert decision["reasons"][1] == "no version is in production yet"
    assert decision["targets"]["age"]["champion"] is None


@pytest.mark.parametrize(("noise", "min_r2"), [(40, 0.0), (5, 0.95)])
def test_decide_promotion_below_the_minimum_is_refused(noise: float, min_r2: float) -> None:
    decision = decide(predictions(noise), min_r2=min_r2)
    assert not decision["promote"]
    assert f"must lie above {min_r2:g}" in decision["reasons"][0]


def test_decide_promotion_same_model_passes_at_margin_0() -> None:
    decision = decide(predictions(5), Champion(3, predictions(5)), margin=0.0)
    assert decision["promote"]
    assert decision["targets"]["age"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0, "method": "identical"}


def test_decide_promotion_larger_error_is_refused() -> None:
    """The baseline's error is 15.25, of which 2% are 0.305: an error that is 3 larger exceeds it."""
    decision = decide(predictions(8), Champion(3, predictions(4)))
    assert not decision["promote"]
    compared = decision["targets"]["age"]
    assert compared["tolerance"] == pytest.approx(0.02 * np.abs(TRUTH - 50).mean())
    assert compared["difference"]["low"] > 0  # type: ignore[index,operator]
    (reason,) = decision["reasons"]
    assert reason.startswith("the 95% interval of version 3's mean absolute error of age minus this model's must not ")


def test_decide_promotion_smaller_error_is_promoted() -> None:
    assert decide(predictions(4), Champion(3, predictions(8)))["promote"]


def test_decide_promotion_champion_without_predictions_is_a_reason() -> None:
    decision = decide(predictions(5), Champion(3, None, "it is corrupt"))
    assert decision["reasons"] == ["production version 3 could not be compared: it is corrupt"]


def test_decide_promotion_without_estimable_target_is_refused() -> None:
    rows = predictions(5).assign(**{"label:age": 50.0})
    decision = decide(rows)
    assert not decision["promote"]
    assert decision["reasons"][0].startswith("age is not estimable: test must have different values of at least 10 pat")
