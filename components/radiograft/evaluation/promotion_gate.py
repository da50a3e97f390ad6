"""The promotion gate: decides whether a new model may replace the production model.

A label passes if the lower 95% confidence limit of the new model's AUROC lies above its minimum and, if a version is in
production, the lower limit of the difference in AUROC on the same test images is at least minus the margin. Every label
with a minimum must pass, so no correction for multiple labels is needed (an intersection-union test, Berger 1982).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from radiograft.config.evaluation import MinimumAuroc
from radiograft.data.catalog import label_column, score_column
from radiograft.evaluation.gate_checks import GateCheck, describe_worst
from radiograft.metrics import delong, multilabel
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.exact_intervals import difference_interval, mean_interval, no_difference
from radiograft.metrics.label_metrics import exact_estimate, rank_label
from radiograft.metrics.ranking import FloatArray, area_under_roc, cumulative_counts, rank_scores, roc_vertices
from radiograft.registry.result_types import AurocComparison, Estimate, GateDecision

MEAN_MISSING = "no label has a confidence interval of its AUROC, so the mean has none"


class Champion(NamedTuple):
    """The production model.

    Attributes:
        version: its version number.
        predictions: its predictions on the test images in the order of the challenger's, with the columns of
            `prediction_frame`; None if it cannot be compared.
        rejection_reason: why it cannot be compared.
    """

    version: int
    predictions: pd.DataFrame | None
    rejection_reason: str = ""


class GatePolicy(NamedTuple):
    """Requirements for promotion.

    Attributes:
        margin: non-inferiority margin, the maximum loss in AUROC, 0 to 1, on a label with a minimum.
        min_auroc: minimum AUROC by label.
        min_patients: number of test patients with, and without, a label that makes it estimable.
    """

    margin: float
    min_auroc: MinimumAuroc
    min_patients: int


def decide_promotion(
    challenger: pd.DataFrame,
    champion: Champion | None,
    estimable: Sequence[str],
    policy: GatePolicy,
    samples: int,
    seed: int,
) -> GateDecision:
    """Decides whether the challenger may replace the production model.

    Args:
        challenger: predictions on the test images, with the columns of `prediction_frame`.
        champion: the production model; None if no version is in production. Only the minimum AUROC then applies.
        estimable: labels with a threshold and enough test patients with and without them.
        policy: the requirements.
        samples: number of patient resamples for each interval, at least 40.
        seed: seed of the resampling. With the seed of the report, the intervals equal those of the report.

    Raises:
        ValueError: the champion predicted other images, or in another order.
    """
    models = [challenger] if champion is None or champion.predictions is None else [challenger, champion.predictions]
    aurocs = bootstrap_aurocs(models, estimable, samples, seed)
    terms = {label: [exact_auroc(model, label) for model in models] for label in estimable}
    same = {label: all(has_same_order(models[0], model, label) for model in models[1:]) for label in estimable}
    comparisons = {
        label: compare_models(aurocs[:, column], terms[label], same[label]) for column, label in enumerate(estimable)
    }
    compared = {label: result for label, result in comparisons.items() if result["challenger"]["low"] is not None}
    floor = policy.min_auroc.mean
    required = [label in compared and (floor is not None or label in policy.min_auroc.by_label) for label in estimable]
    mean = _compare_means(aurocs, terms, same, required) if any(required) else None
    checks = [*_make_checks(compared, champion, policy), *_make_mean_checks(mean, champion, policy)]
    objections = [
        *_explain_missing(compared, champion, estimable, policy),
        *([MEAN_MISSING] if floor is not None and mean is None else []),
        *describe_worst([check for check in checks if not check.passed]),
    ]
    decision: GateDecision = {
        "promote": not objections,
        "reasons": objections or [*describe_worst(checks), *([] if champion else ["no version is in production yet"])],
        "champion": None if champion is None else champion.version,
        "margin": policy.margin,
        "floors": dict(policy.min_auroc.by_label),
        "labels": compared,
        "delong": {label: compare_by_delong(models, label) for label in compared if len(models) == 2},
        "mean": mean,
    }
    if floor is not None:
        decision["mean_floor"] = floor
    return decision


def _compare_means(
    aurocs: FloatArray, terms: Mapping[str, list[Estimate]], same: Mapping[str, bool], required: Sequence[bool]
) -> AurocComparison:
    """Compares the means over the required labels; see `bootstrap_aurocs` and `compare_models`."""
    exact = [mean_interval(list(column)) for column in zip(*compress(terms.values(), required), strict=True)]
    return compare_models(aurocs[:, required].mean(axis=1), exact, all(compress(same.values(), required)))


def explain_decision(decision: GateDecision) -> str:
    """Returns the decision and its reasons as one sentence."""
    outcome = "Approved for promotion" if decision["promote"] else "Not promoted"
    return f"{outcome}: {'; '.join(decision['reasons'])}."


def _make_checks(
    compared: Mapping[str, AurocComparison], champion: Champion | None, policy: GatePolicy
) -> list[GateCheck]:
    """Returns the checks of all compared labels that have a minimum: first the minimums, then the differences."""
    minimums, differences = [], []
    for label, minimum in policy.min_auroc.by_label.items():
        if label not in compared:
            continue
        comparison, quantity = compared[label], f"the AUROC for {label}"
        minimums.append(GateCheck(label, quantity, comparison["challenger"], minimum, is_difference=False))
        if champion is not None and comparison["difference"] is not None:
            quantity += f" minus version {champion.version}'s"
            bound = 0 - policy.margin  # not -0.0 at a margin of 0
            differences.append(GateCheck(label, quantity, comparison["difference"], bound, is_difference=True))
    return minimums + differences


def _make_mean_checks(mean: AurocComparison | None, champion: Champion | None, policy: GatePolicy) -> list[GateCheck]:
    """Returns the checks of the mean over labels if it has a minimum."""
    if mean is None or policy.min_auroc.mean is None:
        return []
    checks = [GateCheck("the mean", "the mean AUROC", mean["challenger"], policy.min_auroc.mean, is_difference=False)]
    if champion is not None and mean["difference"] is not None:
        quantity = f"the mean AUROC minus version {champion.version}'s"
        checks.append(GateCheck("the mean", quantity, mean["difference"], 0 - policy.margin, is_difference=True))
    return checks


def _explain_missing(
    compared: Mapping[str, AurocComparison], champion: Champion | None, estimable: Sequence[str], policy: GatePolicy
) -> list[str]:
    """Explains why the champion, or labels that must be compared, could not be compared."""
    reasons = []
    if champion is not None and champion.predictions is None:
        reasons.append(f"production version {champion.version} could not be compared: {champion.rejection_reason}")
    required = policy.min_auroc.by_label
    missing = [label for label in required if label not in compared]
    if not policy.min_auroc.named and len(missing) < len(required):
        return reasons
    not_estimable = [label for label in missing if label not in estimable]
    if not_estimable:
        reasons.append(
            f"{', '.join(not_estimable)} {'is' if len(not_estimable) == 1 else 'are'} not estimable: validation must "
            f"have both classes, and test at least {policy.min_patients} patients with and {policy.min_patients} "
            "without the label"
        )
    without_interval = [label for label in missing if label in estimable]
    if without_interval:
        names = ", ".join(without_interval)
        reasons.append(f"the AUROC for {names} has no confidence interval: more test patients are needed")
    return reasons


def bootstrap_aurocs(models: Sequence[pd.DataFrame], labels: Sequence[str], samples: int, seed: int) -> FloatArray:
    """Computes AUROCs on resampled patients. All models and labels share the same resamples.

    Args:
        models: predictions of each model on the same images in the same order, with the columns of
            `prediction_frame`.
        labels: labels to compare.
        samples: number of patient resamples.
        seed: seed of the resampling.

    Returns:
        (1 + samples, labels, models). The first row holds the AUROCs without resampling.

    Raises:
        ValueError: the models predicted different images.
    """
    image_ids = [model["image_id"].tolist() for model in models]
    if any(ids != image_ids[0] for ids in image_ids):
        raise ValueError("models must be compared on the same images in the same order")
    rankings = [
        rank_scores(model[label_column(name)], model[score_column(name)]) for name in labels for model in models
    ]
    vertices = [roc_vertices(ranking) for ranking in rankings]

    def statistic(weights: FloatArray) -> FloatArray:
        areas = np.array(
            [
                area_under_roc(*cumulative_counts(ranking, ends, weights))
                for ranking, ends in zip(rankings, vertices, strict=True)
            ]
        )
        return areas.reshape(len(labels), len(models), len(weights)).transpose(2, 0, 1)

    return bootstrap_by_patient(encode_patients(models[0]["patient_id"]), statistic, samples, seed)


def compare_models(aurocs: FloatArray, exact: Sequence[Estimate], same: bool) -> AurocComparison:
    """Computes intervals of the AUROCs and of their difference.

    Args:
        aurocs: (1 + samples, models) of one label or of a mean: the challenger and, if there is one, the champion.
        exact: the same AUROCs with exact intervals, used where resampling does not change a value.
        same: whether all models rank the images equally.
    """
    columns = zip(aurocs.T, exact, strict=True)
    challenger, *others = [percentile_interval(values, lambda _, term=term: term) for values, term in columns]  # type: ignore[misc]
    if not others:
        return {"challenger": challenger, "champion": None, "difference": None}
    difference = no_difference() if same else difference_interval(*exact)
    return {
        "challenger": challenger,
        "champion": others[0],
        "difference": percentile_interval(aurocs[:, 0] - aurocs[:, 1], lambda _: difference),
    }


def exact_auroc(model: pd.DataFrame, label: str) -> Estimate:
    """Returns the AUROC of a model for one label with an exact interval.

    Args:
        model: predictions with the columns of `prediction_frame`.
        label: a label that has both classes.
    """
    ranked = rank_label(
        model[label_column(label)], model[score_column(label)], encode_patients(model["patient_id"]), None
    )
    value = multilabel.auroc(model[label_column(label)], model[score_column(label)])
    return exact_estimate(ranked, "auroc", value)


def has_same_order(first: pd.DataFrame, second: pd.DataFrame, label: str) -> bool:
    """Returns whether two models rank the images equally for a label."""
    return np.array_equal(*(rankdata(model[score_column(label)]) for model in (first, second)))


def compare_by_delong(models: Sequence[pd.DataFrame], label: str) -> Estimate:
    """Computes the difference of the AUROCs of two models for one label with DeLong's normal interval.

    The images of a patient form a cluster. The interval is an independent check of the bootstrap interval. Its bounds
    are None if the variance cannot be estimated.
    """
    challenger, champion = models
    truth, scores = challenger[label_column(label)], score_column(label)
    return delong.compare_aurocs(truth, challenger[scores], champion[scores], challenger["patient_id"]).estimate()
