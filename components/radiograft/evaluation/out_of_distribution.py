"""How often the out-of-distribution flag is raised: on test, where it is a false alarm, and on other images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from radiograft.config import Evaluate
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.exact_intervals import proportion_interval
from radiograft.models.out_of_distribution import FeatureDistribution
from radiograft.registry.analysis_types import FlaggedSplit, OutOfDistribution
from radiograft.registry.result_types import Estimate
from radiograft.reporting.html import ReportSection


def measure_flag(
    distribution: FeatureDistribution, features: dict[str, np.ndarray], patients: dict[str, Any], settings: Evaluate
) -> OutOfDistribution:
    """Counts the flagged images of each split.

    Args:
        distribution: of the features of the training images.
        features: float32 [images, channels] by split.
        patients: IDs of the images' patients by split.
        settings: resamples and seed of the intervals.
    """
    splits = {}
    for split, values in features.items():
        flags = distribution.distances(values).numpy() > distribution.threshold
        splits[split] = FlaggedSplit(
            n_images=len(flags),
            n_patients=len(set(patients[split])),
            flagged=int(flags.sum()),
            rate=flag_rate(flags, patients[split], settings.evaluate_bootstrap_samples, settings.train_seed),
        )
    return {"percentile": distribution.percentile, "threshold": distribution.threshold, "splits": splits}


def flag_rate(flags: np.ndarray, patients: Sequence[str], samples: int, seed: int) -> Estimate:
    """Returns the fraction of flagged images with its 95% interval from resampled patients.

    Args:
        flags: bool [images].
        patients: ID of each image's patient.
        samples: number of resamples.
        seed: of the resampling.

    Example:
        >>> rate = flag_rate(np.array([True, False, False, False]), ["a", "a", "b", "b"], 100, 0)
        >>> rate["value"]
        0.25
    """
    codes = encode_patients(patients)
    values = bootstrap_by_patient(codes, lambda weights: weights @ flags / weights.sum(axis=1), samples, seed)
    return percentile_interval(values, lambda value: proportion_interval(value, int(codes.max()) + 1))


def flag_section(results: OutOfDistribution) -> ReportSection:
    """Returns the section of the report."""
    return ReportSection("out_of_distribution.html.j2", {**results, "expected": 1 - results["percentile"] / 100})


def flag_warnings(results: OutOfDistribution) -> list[str]:
    """Returns a warning if more test images are flagged than the threshold allows, beyond the sampling error."""
    rate, expected = results["splits"]["test"]["rate"], 1 - results["percentile"] / 100
    if rate["low"] is None or rate["low"] <= expected:
        return []
    sentence = (
        f"{rate['value']:.1%} of the test images are flagged as out of distribution, and the threshold was chosen"
    )
    return [f"{sentence} for {expected:.1%}: the flag raises more false alarms than intended"]
