"""Confounders: variables such as view, sex or source folder that go with a label among the training images.

A model can learn such a variable in place of the finding. The training images show it even where test is too small for
the analysis of shortcuts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import chi2

from radiograft.data.catalog import label_column
from radiograft.evaluation import subgroups
from radiograft.evaluation.shortcuts import NAMES
from radiograft.metrics.bootstrap import encode_patients
from radiograft.metrics.delong import NORMAL_975
from radiograft.metrics.ranking import FloatArray, IntArray
from radiograft.registry.result_types import Estimate
from radiograft.registry.results import Confounder, ConfounderGroup
from radiograft.reporting.html import ReportSection

MIN_PATIENTS = 5  # in a group and in each class; with fewer, the chi-square distribution is a poor approximation
LEVEL = 0.05  # of the p-value after Holm's correction
# An association is strong if the odds of the label in a group differ by this factor from those in the other groups:
# about a medium effect (3.47 at a prevalence of 1%, Chen, Cohen and Chen 2010).
STRONG_ODDS_RATIO = 3.0
MAX_NAMED = 5  # labels of a warning
MAX_TABLES = 6  # pairs of variable and label whose groups are listed in the report


def find_confounders(train: pd.DataFrame, labels: Sequence[str]) -> list[Confounder]:
    """Measures the association of each variable with each label, the strongest first.

    Each patient counts once: an image of a patient with n images counts 1/n. With one image per patient the test is
    Pearson's chi-square test. Groups and labels with fewer than MIN_PATIENTS patients are left out.

    Args:
        train: catalog rows of the training images.
        labels: all labels.
    """
    patients = encode_patients(train["patient_id"]) if len(train) else np.empty(0, np.int64)
    found = []
    for variable, column in subgroups.assign_groups(train).items():
        names = subgroups.sort_groups(variable, column.dropna().unique())
        groups = pd.Categorical(column, names).codes.astype(np.int64)
        for label in labels:
            counts = _count(groups, train[label_column(label)].to_numpy("float64"), patients, len(names))
            confounder = _measure(variable, label, counts, names)
            found += [] if confounder is None else [confounder]
    adjusted = adjust_p_values([confounder["p"] for confounder in found])
    for confounder, p in zip(found, adjusted, strict=True):
        confounder["adjusted_p"] = p
        confounder["warning"] = p < LEVEL and any(map(_is_strong, confounder["groups"]))
    return sorted(found, key=lambda confounder: -confounder["cramers_v"])


def confounder_warnings(found: Sequence[Confounder], place: str = "training") -> list[str]:
    """Returns one sentence for each variable that is associated with labels, with the counts of the first label."""
    by_variable: dict[str, list[Confounder]] = {}
    for confounder in found:
        if confounder["warning"]:
            by_variable.setdefault(confounder["variable"], []).append(confounder)
    sentences = []
    for variable, (first, *others) in by_variable.items():
        name = NAMES[variable]
        labels = [each["label"] for each in others]
        more = f" and {len(labels) - MAX_NAMED} more labels" if len(labels) > MAX_NAMED else ""
        also = f"; also with {', '.join(labels[:MAX_NAMED])}{more}" if labels else ""
        sentences.append(
            f"{name} is associated with {first['label']} in {place}: {_describe(first)}{also}. "
            + _consequence(name.lower(), place)
        )
    return sentences


def _consequence(variable: str, place: str) -> str:
    if place == "training":
        return f"The model may learn the {variable} instead of the finding."
    return f"A model that has learned the {variable} instead of the finding would score well there."


def confounder_section(found: Sequence[Confounder], place: str = "training") -> ReportSection:
    """Returns the report section on confounders among the images of `place`."""
    shown = [each for each in found if each["warning"]] + [each for each in found if not each["warning"]]
    content = {
        "place": place,
        "found": shown[:MAX_TABLES],
        "others": shown[MAX_TABLES:],
        "names": NAMES,
        "strong": STRONG_ODDS_RATIO,
        "level": LEVEL,
        "min_patients": MIN_PATIENTS,
    }
    return ReportSection("confounders.html.j2", content)


def adjust_p_values(values: Sequence[float]) -> list[float]:
    """Adjusts p-values for the number of tests (Holm 1979), which keeps the chance of any false alarm below the level.

    Example:
        >>> adjust_p_values([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(values, kind="stable")
    steps = np.arange(len(values), 0, -1) * np.asarray(values, np.float64)[order]
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(values) else steps
    return [float(value) for value in adjusted]


class _Counts(NamedTuple):
    """Counts of the images with known group and truth.

    Attributes:
        images, positives, patients: (groups,) by group.
        by_class: (2,) patients with an image without, and with, the label.
        table: (groups, 2) patients without, and with, the label. One of n images of a patient counts 1/n.
        n_patients: all patients.
    """

    images: IntArray
    positives: IntArray
    patients: IntArray
    by_class: IntArray
    table: FloatArray
    n_patients: int


def _count(groups: IntArray, truth: FloatArray, patients: IntArray, n_groups: int) -> _Counts:
    """Counts images and patients; groups with too few patients count nothing.

    Args:
        groups: (n,) code of the group of each image, -1 if unknown.
        truth: (n,) 0, 1 or NaN.
        patients: (n,) patient code of each image.
        n_groups: number of groups.
    """
    known = (groups >= 0) & ~np.isnan(truth)
    large = _count_patients(groups[known], patients[known], n_groups) >= MIN_PATIENTS
    known[known] = large[groups[known]]
    groups, classes, patients = groups[known], truth[known].astype(np.int64), patients[known]
    weights = 1 / np.bincount(patients)[patients] if len(patients) else np.empty(0)
    return _Counts(
        images=np.bincount(groups, minlength=n_groups),
        positives=np.bincount(groups[classes == 1], minlength=n_groups),
        patients=_count_patients(groups, patients, n_groups),
        by_class=_count_patients(classes, patients, 2),
        table=np.bincount(2 * groups + classes, weights, 2 * n_groups).astype(np.float64).reshape(n_groups, 2),
        n_patients=len(np.unique(patients)),
    )


def _count_patients(keys: IntArray, patients: IntArray, n_keys: int) -> IntArray:
    """Returns the number of different patients of each key, (n_keys,)."""
    n_patients = int(patients.max(initial=0)) + 1
    return np.bincount(np.unique(keys * n_patients + patients) // n_patients, minlength=n_keys)


def _measure(variable: str, label: str, counts: _Counts, names: Sequence[str]) -> Confounder | None:
    """Returns the association of one variable and one label; None if there are too few patients."""
    used = np.flatnonzero(counts.images).tolist()
    if len(used) < 2 or counts.by_class.min() < MIN_PATIENTS:
        return None
    table = counts.table[used]
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return {
        "variable": variable,
        "label": label,
        "groups": [_describe_group(names[row], counts, row) for row in used],
        "n_images": int(counts.images.sum()),
        "n_patients": counts.n_patients,
        "cramers_v": min(1.0, math.sqrt(statistic / table.sum())),
        "p": float(chi2.sf(statistic, len(used) - 1)),
        "adjusted_p": 1.0,
        "warning": False,
    }


def _describe_group(name: str, counts: _Counts, row: int) -> ConfounderGroup:
    return {
        "group": name,
        "n_images": int(counts.images[row]),
        "n_patients": int(counts.patients[row]),
        "positives": int(counts.positives[row]),
        "odds_ratio": odds_ratio(counts.table[row], counts.table.sum(axis=0) - counts.table[row]),
    }


def odds_ratio(inside: Iterable[float], outside: Iterable[float]) -> Estimate:
    """Computes an odds ratio with its 95% interval on the log scale (Woolf 1955), 0.5 added to each count (Haldane).

    Args:
        inside, outside: number of patients without and with the label, in the group and outside of it.
    """
    counts = [max(float(count), 0.0) + 0.5 for count in (*inside, *outside)]
    absent, present, others_absent, others_present = counts
    value = present * others_absent / (absent * others_present)
    factor = math.exp(NORMAL_975 * math.sqrt(sum(1 / count for count in counts)))
    return {"value": value, "low": value / factor, "high": value * factor}


def _is_strong(group: ConfounderGroup) -> bool:
    value = group["odds_ratio"]["value"] or 1.0
    return max(value, 1 / value) >= STRONG_ODDS_RATIO


def _describe(confounder: Confounder) -> str:
    """Returns the counts of the group whose odds differ most significantly among those that differ strongly."""
    strong = list(filter(_is_strong, confounder["groups"]))
    group = max(strong, key=lambda each: (_significance(each), each["odds_ratio"]["value"] or 0.0))
    with_label = sum(each["positives"] for each in confounder["groups"])
    without = confounder["n_images"] - with_label
    return (
        f"{group['positives']:,} of {with_label:,} images with the label have {NAMES[confounder['variable']].lower()} "
        f"{group['group']}, and {group['n_images'] - group['positives']:,} of {without:,} without (odds ratio "
        f"{group['odds_ratio']['value']:.2f}, each patient counted once)"
    )


def _significance(group: ConfounderGroup) -> float:
    """Returns the log odds ratio in units of its standard error; equal for two groups that exclude each other."""
    value, high = group["odds_ratio"]["value"] or 1.0, group["odds_ratio"]["high"] or 1.0
    return round(abs(math.log(value)) / math.log(high / value), 6)
