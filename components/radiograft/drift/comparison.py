"""Have the data shifted? Five tests of new images against a reference: a number, a p-value and a verdict each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypedDict

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

LEVEL = 0.01  # of each of the five tests, so that all together raise at most one false alarm in twenty comparisons
MIN_PATIENTS = 10  # a side
MAX_EMBEDDED = 500  # images a side in the embedding test, whose kernel grows with their square

SHIFTED, NOT_SEEN, TOO_FEW, UNKNOWN_VARIABLE = "shifted", "no shift seen", "too few patients", "not told by the data"
KS, TV, MMD = "Kolmogorov-Smirnov distance", "total variation", "maximum mean discrepancy"
MEASURES: dict[str, Callable[[np.ndarray], Statistic]] = {
    KS: kolmogorov_smirnov,
    TV: total_variation,
    MMD: mean_discrepancy,
}
NAMES = {"score": "prediction scores", "embedding": "embedding", "view": "view", "age": "age", "sex": "sex"}


class Side(TypedDict):
    """How many images of how many patients a test saw on one side."""

    pictures: int
    patients: int


class DriftTest(TypedDict):
    """One test.

    `value` is the distance, `chance` what it stays below in 95 of 100 random divisions of the same patients, `p` the
    p-value. All three are None where the verdict is that there are too few patients or that the data do not tell.
    """

    measure: str
    value: float | None
    chance: float | None
    p: float | None
    reference: Side
    new: Side
    verdict: str


class DriftReport(TypedDict):
    """All tests by name (see NAMES), and what a reader wants to see beside them.

    `labels` are the tests of each label's scores, their p-values as they are. The test `score` is that of `label`,
    which has the smallest p-value, times the number of labels (Bonferroni). `shares` are each category's share of the
    images, in the reference and now; `ages` the medians in years. `shifted` names the tests that light up.
    """

    level: float
    tests: dict[str, DriftTest]
    labels: dict[str, DriftTest]
    label: str
    shares: dict[str, dict[str, tuple[float, float]]]
    ages: tuple[float | None, float | None]
    shifted: list[str]


class DriftComparison(NamedTuple):
    """The tests, and (PERMUTATIONS,) the embedding's distance where chance decides, or empty if it was not tested."""

    drift: DriftReport
    chance: FloatArray


def compare_samples(reference: ReferenceSample, new: ReferenceSample, seed: int) -> DriftComparison:
    """Compares new images with a reference that the same model has described.

    Prediction scores are compared as in Lipton et al. 2018 and Rabanser et al. 2019.

    Raises:
        ValueError: the samples were described by different models.
    """
    if reference.labels.tolist() != new.labels.tolist() or reference.features.shape[1] != new.features.shape[1]:
        raise ValueError("both samples must be described by one model, got other labels or another number of channels")
    both = (reference, new)
    labels = {
        str(name): _test(KS, both, [sample.scores[:, number] for sample in both], seed)[0]
        for number, name in enumerate(new.labels)
    }
    embedding, chance = _test(MMD, both, [_subsample(sample.features, seed) for sample in both], seed)
    label = min(labels, key=lambda name: (labels[name]["p"] or 0.0, -(labels[name]["value"] or 0.0)))
    tests = {"score": _corrected(labels[label], len(labels)), "embedding": embedding}
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
    """What shifted, in a clause: `view (AP 35 % before, 57 % now), age (median 49 before, 43 now)`."""
    details = {"score": f" of {drift['label']}"}
    for name, shares in drift["shares"].items():
        if shares:
            most = max(shares, key=lambda category: shares[category][1] - shares[category][0])
            details[name] = f" ({most} {shares[most][0]:.0%} before, {shares[most][1]:.0%} now)"
    before, now = drift["ages"]
    if before is not None and now is not None:
        details["age"] = f" (median {before:.0f} before, {now:.0f} now)"
    return ", ".join(NAMES[name] + details.get(name, "") for name in drift["shifted"])


def _test(
    measure: str, both: tuple[ReferenceSample, ReferenceSample], values: Sequence[np.ndarray], seed: int
) -> tuple[DriftTest, FloatArray]:
    """One test on the images whose values are known, and its distance where chance decides."""
    rows = [known_values(side) for side in values]
    patients = [sample.patients[told] for sample, told in zip(both, rows, strict=True)]
    sides = [Side(pictures=len(side), patients=len(np.unique(side))) for side in patients]
    test = DriftTest(
        measure=measure, value=None, chance=None, p=None, reference=sides[0], new=sides[1], verdict=UNKNOWN_VARIABLE
    )
    fewest = min(side["patients"] for side in sides)
    if fewest < MIN_PATIENTS:
        return {**test, "verdict": TOO_FEW if fewest else UNKNOWN_VARIABLE}, np.empty(0)
    apart = np.concatenate([patients[0], patients[1] + patients[0].max() + 1])
    statistic = MEASURES[measure](np.concatenate([side[told] for side, told in zip(values, rows, strict=True)]))
    found = permutation_test(apart, np.arange(len(apart)) >= len(patients[0]), statistic, seed)
    chance = float(np.quantile(found.chance, 0.95))
    return {**test, "value": found.value, "chance": chance, "p": found.p, "verdict": _verdict(found.p)}, found.chance


def _subsample(features: np.ndarray, seed: int) -> np.ndarray:
    """The features of MOST_EMBEDDED images, each as likely as any other, and NaN for the rest."""
    thin = np.full_like(features, np.nan)
    kept = np.random.default_rng(seed).permutation(np.flatnonzero(known_values(features)))[:MAX_EMBEDDED]
    thin[kept] = features[kept]
    return thin


def known_values(column: np.ndarray) -> BoolArray:
    """Which rows tell something: text that is not empty, numbers that are finite."""
    if column.dtype.kind == "U":
        return np.asarray(column != "")
    return np.asarray(np.isfinite(column.reshape(len(column), -1)).all(axis=1))


def _verdict(p: float) -> str:
    return SHIFTED if p < LEVEL else NOT_SEEN


def _corrected(test: DriftTest, comparisons: int) -> DriftTest:
    """The test with the smallest of several p-values, corrected for that it was chosen (Bonferroni)."""
    if test["p"] is None:
        return test
    p = min(1.0, test["p"] * comparisons)
    return {**test, "p": p, "verdict": _verdict(p)}


def _shares(reference: np.ndarray, new: np.ndarray) -> dict[str, tuple[float, float]]:
    """Each category's share of the images of which it is known; nothing where a side does not tell."""
    before, now = (column[known_values(column)] for column in (reference, new))
    if not len(before) or not len(now):
        return {}
    names = np.unique(np.concatenate([before, now]))
    return {str(name): (float(np.mean(before == name)), float(np.mean(now == name))) for name in names}


def _median(ages: np.ndarray) -> float | None:
    return float(np.median(ages[known_values(ages)])) if known_values(ages).any() else None
