"""The promotion gate if the targets are numbers.

A target passes if the lower 95% confidence limit of its R² lies above the minimum and, if a version is in production,
the mean absolute error on the same test images is not higher by more than the margin. As an error has a unit, the
margin is a fraction of the error of always predicting the median of training. Every target must pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from radiograft.evaluation.gate_checks import GateCheck, describe_worst
from radiograft.evaluation.promotion_gate import Champion
from radiograft.metrics.exact_intervals import no_difference
from radiograft.metrics.ranking import FloatArray
from radiograft.metrics.regression import interval, paired_mae
from radiograft.registry.result_types import ErrorComparison, Estimate, GateDecision, RegressionMetrics, TargetMetrics


class ErrorPolicy(NamedTuple):
    """Requirements for promotion.

    Attributes:
        margin: largest increase of the mean absolute error, as a fraction of the baseline's.
        min_r2: minimum R² of each target.
        min_patients: number of test patients with a known value that makes a target estimable.
    """

    margin: float
    min_r2: float
    min_patients: int


def decide_promotion(
    challenger: pd.DataFrame,
    champion: Champion | None,
    metrics: RegressionMetrics,
    policy: ErrorPolicy,
    samples: int,
    seed: int,
) -> GateDecision:
    """Decides whether the challenger may replace the production model.

    Args:
        challenger: predictions on the test images, with the columns of `prediction_frame`.
        champion: the production model; None if no version is in production. Only the minimum then applies.
        metrics: of the challenger on test.
        policy: the requirements.
        samples: number of patient resamples for each interval, at least 40.
        seed: seed of the resampling.

    Raises:
        ValueError: the champion predicted other images, or in another order.
    """
    models = [challenger] if champion is None or champion.predictions is None else [challenger, champion.predictions]
    compared = {
        name: _compare(metrics["targets"][name], paired_mae(models, name, samples, seed), policy)
        for name in metrics["estimable"]
        if metrics["targets"][name]["r2"]["low"] is not None
    }
    checks = [check for name, each in compared.items() for check in _make_checks(name, each, champion)]
    missing = [name for name in metrics["targets"] if name not in compared]
    objections = [
        *_explain_missing(missing, champion, policy),
        *describe_worst([check for check in checks if not check.passed]),
    ]
    return {
        "promote": not objections,
        "reasons": objections or [*describe_worst(checks), *([] if champion else ["no version is in production yet"])],
        "champion": None if champion is None else champion.version,
        "margin": policy.margin,
        "floors": {},
        "labels": {},
        "delong": {},
        "mean": None,
        "targets": compared,
    }


def _compare(metrics: TargetMetrics, errors: FloatArray, policy: ErrorPolicy) -> ErrorComparison:
    """Compares the mean absolute errors of one or two models, (1 + samples, models), of one target."""
    challenger, *others = (interval(column) for column in errors.T)
    baseline = metrics["baseline_mae"]["value"]
    return ErrorComparison(
        r2=metrics["r2"],
        minimum=policy.min_r2,
        challenger=challenger,
        champion=others[0] if others else None,
        difference=_difference(errors[:, 0], errors[:, 1]) if others else None,
        tolerance=policy.margin * baseline if others and baseline is not None else None,
    )


def _difference(challenger: FloatArray, champion: FloatArray) -> Estimate:
    return no_difference() if np.array_equal(challenger, champion) else interval(challenger - champion)


def _make_checks(name: str, compared: ErrorComparison, champion: Champion | None) -> list[GateCheck]:
    checks = [GateCheck(name, f"R² of {name}", compared["r2"], compared["minimum"], is_difference=False)]
    difference, tolerance = compared["difference"], compared["tolerance"]
    if champion is not None and difference is not None and tolerance is not None:
        quantity = f"version {champion.version}'s mean absolute error of {name} minus this model's"
        checks.append(GateCheck(name, quantity, _negate(difference), 0 - tolerance, is_difference=True))
    return checks


def _negate(estimate: Estimate) -> Estimate:
    value, low, high = (None if number is None else 0 - number for number in (
        estimate["value"], estimate["low"], estimate["high"]
    ))  # fmt: skip
    return {"value": value, "low": high, "high": low}


def _explain_missing(missing: list[str], champion: Champion | None, policy: ErrorPolicy) -> list[str]:
    """Explains why the champion, or targets, could not be compared."""
    reasons = []
    if champion is not None and champion.predictions is None:
        reasons.append(f"production version {champion.version} could not be compared: {champion.rejection_reason}")
    if missing:
        reasons.append(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not estimable: test must have different "
            f"values of at least {policy.min_patients} patients, and enough of them for a confidence interval"
        )
    return reasons


def describe_gate(decision: GateDecision) -> Mapping[str, object]:
    """Returns the content of the report section on the gate."""
    return {**decision, "compares": any(each["champion"] for each in decision.get("targets", {}).values())}
