"""Compares a version on its own test split with the same version on other images: loss of AUROC and robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from radiograft.evaluation.promotion_gate import bootstrap_aurocs, exact_auroc
from radiograft.external.prediction import Corrupted
from radiograft.imaging.corruption_sets import CLEAN, SEVERITIES
from radiograft.metrics.bootstrap import percentile_interval
from radiograft.metrics.exact_intervals import difference_interval, mean_interval
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.external_results import AurocLoss, Comparison, Robustness
from radiograft.registry.result_types import Estimate


def compare_aurocs(
    internal: pd.DataFrame, external: pd.DataFrame, labels: Sequence[str], samples: int, seed: int
) -> Comparison:
    """Computes the AUROC on both sets and the loss, internal minus external, with 95% intervals.

    The sets are independent samples, so each is resampled by patient on its own.

    Args:
        internal, external: predictions of one model, with the columns of `prediction_frame`.
        labels: labels with both classes in both sets.
        samples: number of patient resamples.
        seed: of the external resamples, whose intervals are then those of the report; the internal ones have the next.
    """
    if not labels:
        return {"labels": {}, "mean": None}
    frames, seeds = (internal, external), (seed + 1, seed)
    values = [
        bootstrap_aurocs([frame], labels, samples, each)[..., 0] for frame, each in zip(frames, seeds, strict=True)
    ]
    exact = [[exact_auroc(frame, label) for label in labels] for frame in frames]
    by_label = {
        label: _compare([each[:, column] for each in values], [terms[column] for terms in exact])
        for column, label in enumerate(labels)
    }
    return {
        "labels": by_label,
        "mean": _compare([each.mean(axis=1) for each in values], list(map(mean_interval, exact))),
    }


def _compare(values: Sequence[FloatArray], exact: Sequence[Estimate]) -> AurocLoss:
    """Compares two independent bootstrap samples of one quantity.

    Args:
        values: (1 + samples,) internal, and external. A set of one patient has no resamples.
        exact: the same values with exact intervals, used where resampling does not change a value.
    """
    inside, outside = (
        percentile_interval(each, lambda _, term=term: term)  # type: ignore[misc]
        for each, term in zip(values, exact, strict=True)
    )
    length = min(map(len, values))
    loss = percentile_interval(values[0][:length] - values[1][:length], lambda _: difference_interval(*exact))
    return {"internal": inside, "external": outside, "loss": loss}


def measure_robustness(
    corruption_set: str,
    clean: pd.DataFrame,
    corrupted: Sequence[Corrupted],
    labels: Sequence[str],
    samples: int,
    seed: int,
) -> Robustness:
    """Computes the AUROC by corruption and severity with 95% intervals; all share the same resamples of patients.

    Args:
        corruption_set: name of the set.
        clean: predictions without corruption.
        corrupted: predictions with each corruption of the set at each severity.
        labels: labels with both classes, at least one.
        samples: number of patient resamples.
        seed: seed of the resamples.
    """
    frames: Mapping[tuple[str, int], pd.DataFrame] = {
        (each.corruption, each.severity): each.predictions for each in corrupted
    }
    values = bootstrap_aurocs([clean, *frames.values()], labels, samples, seed).mean(axis=1)
    exact = [mean_interval([exact_auroc(frame, label) for label in labels]) for frame in (clean, *frames.values())]
    place = {key: number for number, key in enumerate(frames, 1)}
    names = list(dict.fromkeys(name for name, _ in frames))

    def estimate(columns: Sequence[int]) -> Estimate:
        mean = mean_interval([exact[column] for column in columns])
        return percentile_interval(np.mean(values[:, columns], axis=1), lambda _: mean)

    def curve(chosen: Sequence[str]) -> list[Estimate]:
        return [estimate([0]), *(estimate([place[name, severity] for name in chosen]) for severity in SEVERITIES)]

    return {
        "corruption_set": corruption_set,
        "labels": list(labels),
        "severities": [CLEAN, *SEVERITIES],
        "mean": curve(names),
        "corruptions": {name: curve([name]) for name in names},
    }
