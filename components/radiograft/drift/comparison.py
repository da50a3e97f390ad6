"""Tests whether new images differ from a reference: five tests, each with a distance, a p-value and a verdict."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from radiograft.drift.reference import ReferenceSample
from radiograft.drift.two_sample_tests import (
    BoolArray,
    FloatArray,
    Statistic,
    kolmogorov_smirnov,
    mean_discrepancy,
    permutation_test,
    total_variation,
)
from radiograft.registry.analysis_types import DriftReport, DriftTest, Side

LEVEL = 0.01  # of each of the five tests; together they raise a false alarm in at most one of twenty comparisons
MIN_PATIENTS = 10  # per sample
MAX_EMBEDDED = 500  # images per sample in the embedding test, whose kernel grows quadratically

SHIFTED, NOT_SHIFTED, TOO_FEW, UNKNOWN_VARIABLE = "shifted", "no shift detected", "too few patients", "not recorded"
NOT_COMPARED = "nothing could be compared"
REASONS = {TOO_FEW: f"fewer than {MIN_PATIENTS} patients in one of the samples", UNKNOWN_VARIABLE: "not recorded"}
KS, TV, MMD = "Kolmogorov-Smirnov distance", "total variation", "maximum mean discrepancy"
MEASURES: dict[str, Callable[[np.ndarray], Statistic]] = {
    KS: kolmogorov_smirnov,
    TV: total_variation,
    MMD: mean_discrepancy,
}
NAMES = {"score": "prediction scores", "embedding": "embedding", "view": "view", "age": "age", "sex": "sex"}


class DriftComparison(NamedTuple):
    """The tests, and the embedding distances under permutation, (PERMUTATIONS,); empty if it was not tested."""

    drift: DriftReport
    chance: FloatArray


def compare_samples(reference: ReferenceSample, new: ReferenceSample, seed: int) -> DriftComparison:
    """Compares new images with a reference sample from the same model.

    Prediction scores are compared as in Lipton et al. 2018 and Rabanser et al. 2019.

    Raises:
        ValueError: if the samples come from different models.
    """
    if reference.labels.tolist() != new.labels.tolist() or reference.features.shape[1] != new.features.shape[1]:
        raise ValueError("both samples must come from the same model, got different labels or numbers of channels")
    both = (reference, new)
    labels = {
        str(name): _test(KS, both, [sample.scores[:, index] for sample in both], seed)[0]
        for index, name in enumerate(new.labels)
    }
    embedding, chance = _test(MMD, both, [_subsample(sample.features, seed) for sample in both], seed)
    label = min(labels, key=lambda name: (labels[name]["p"] or 0.0, -(labels[name]["value"] or 0.0)))
    tests = {"score": _apply_bonferroni(labels[label], len(labels)), "embedding": embedding}
    for name, measure in (("view", TV), ("age", KS), ("sex", TV)):
        tests[name], _ = _test(measure, both, [getattr(sample, name) for sample in both], seed)
    return DriftComparison(
        DriftReport(
            level=LEVEL,
            tests=tests,
            labels=labels,
            label=label,
            shares={name: _shares(getattr(reference, name), getattr(new, name)) for name in ("view", "sex")},
            ages=(_median(reference.age), _median(new.age)),
            shifted=[name for name, test in tests.items() if test["verdict"] == SHIFTED],
        ),
        chance,
    )


def describe_shift(drift: DriftReport) -> str:
    """Describes what shifted, for example `view (AP from 35% to 57%), age (median from 49 to 43)`."""
    details = {"score": f" of {drift['label']}"}
    for name, shares in drift["shares"].items():
        if shares:
            category = max(shares, key=lambda name: shares[name][1] - shares[name][0])
            details[name] = f" ({category} from {shares[category][0]:.0%} to {shares[category][1]:.0%})"
    reference, new = drift["ages"]
    if reference is not None and new is not None:
        details["age"] = f" (median from {reference:.0f} to {new:.0f})"
    return ", ".join(NAMES[name] + details.get(name, "") for name in drift["shifted"])


def drift_outcome(drift: DriftReport) -> str:
    """Returns SHIFTED, NOT_SHIFTED, or NOT_COMPARED if no test had enough images with known values."""
    if drift["shifted"]:
        return SHIFTED
    return NOT_SHIFTED if any(test["p"] is not None for test in drift["tests"].values()) else NOT_COMPARED


def describe_untested(drift: DriftReport) -> str:
    """Describes what was not tested, for example `age, sex (not recorded)`; empty if every test was made."""
    untested = {
        reason: [NAMES[name] for name, test in drift["tests"].items() if test["verdict"] == verdict]
        for verdict, reason in REASONS.items()
    }
    return "; ".join(f"{', '.join(names)} ({reason})" for reason, names in untested.items() if names)


def _test(
    measure: str, both: tuple[ReferenceSample, ReferenceSample], values: Sequence[np.ndarray], seed: int
) -> tuple[DriftTest, FloatArray]:
    """Runs one test on the images with known values; also returns its distances under permutation."""
    known = [known_values(side) for side in values]
    patients = [sample.patients[mask] for sample, mask in zip(both, known, strict=True)]
    sides = [Side(pictures=len(side), patients=len(np.unique(side))) for side in patients]
    test = DriftTest(
        measure=measure, value=None, chance=None, p=None, reference=sides[0], new=sides[1], verdict=UNKNOWN_VARIABLE
    )
    fewest = min(side["patients"] for side in sides)
    if fewest < MIN_PATIENTS:
        return {**test, "verdict": TOO_FEW if fewest else UNKNOWN_VARIABLE}, np.empty(0)
    codes = np.concatenate([patients[0], patients[1] + patients[0].max() + 1])
    statistic = MEASURES[measure](np.concatenate([side[mask] for side, mask in zip(values, known, strict=True)]))
    result = permutation_test(codes, np.arange(len(codes)) >= len(patients[0]), statistic, seed)
    chance = float(np.quantile(result.chance, 0.95))
    return {
        **test,
        "value": result.value,
        "chance": chance,
        "p": result.p,
        "verdict": _verdict(result.p),
    }, result.chance


def _subsample(features: np.ndarray, seed: int) -> np.ndarray:
    """Keeps the features of MAX_EMBEDDED images drawn at random; sets the others to NaN."""
    subsample = np.full_like(features, np.nan)
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(known_values(features)))[:MAX_EMBEDDED]
    subsample[drawn] = features[drawn]
    return subsample


def known_values(column: np.ndarray) -> BoolArray:
    """Returns which rows are known: text that is not empty, numbers that are finite."""
    if column.dtype.kind == "U":
        return np.asarray(column != "")
    return np.asarray(np.isfinite(column.reshape(len(column), -1)).all(axis=1))


def _verdict(p: float) -> str:
    return SHIFTED if p < LEVEL else NOT_SHIFTED


def _apply_bonferroni(test: DriftTest, comparisons: int) -> DriftTest:
    """Corrects the smallest of several p-values for multiple comparisons."""
    if test["p"] is None:
        return test
    p = min(1.0, test["p"] * comparisons)
    return {**test, "p": p, "verdict": _verdict(p)}


def _shares(reference: np.ndarray, new: np.ndarray) -> dict[str, tuple[float, float]]:
    """Returns each category's fraction of the images with a known category; empty if a sample has none."""
    known_reference, known_new = (column[known_values(column)] for column in (reference, new))
    if not len(known_reference) or not len(known_new):
        return {}
    names = np.unique(np.concatenate([known_reference, known_new]))
    return {str(name): (float(np.mean(known_reference == name)), float(np.mean(known_new == name))) for name in names}


def _median(ages: np.ndarray) -> float | None:
    known = ages[known_values(ages)]
    return float(np.median(known)) if len(known) else None
