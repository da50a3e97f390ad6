"""Subgroup analysis: metrics of the published model by sex, age group, view and source folder."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from radiograft.config import Evaluate
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.class_decisions import UNKNOWN_CLASS, ExclusiveClasses, decide_classes, read_classes
from radiograft.metrics.exact_intervals import difference_interval, proportion_interval
from radiograft.metrics.label_metrics import (
    STATISTICS,
    RankedLabel,
    compute_statistics,
    mean_exact_estimate,
    summarize_label,
)
from radiograft.metrics.multiclass import compute_class_statistics
from radiograft.metrics.multilabel import rank_labels
from radiograft.metrics.ranking import FloatArray, IntArray
from radiograft.registry.analysis_types import Contrast, GroupAccuracy, Subgroup
from radiograft.registry.result_types import Estimate, LabelMetrics
from radiograft.reporting.html import ReportSection

SHOWN = ("auroc", "sensitivity", "specificity")

AGES = {"under 18": 0, "18 to 39": 18, "40 to 59": 40, "60 to 79": 60, "80 and over": 80}  # first year of each group
MAX_GROUPS = 20
BOTH_VIEWS, FRONTAL_ONLY = "frontal and lateral", "frontal only"
ACQUISITION = ("manufacturer", "laterality", "color")  # columns that a catalog may have; `color` is yes or no


class EvaluatedSplit(NamedTuple):
    """Predictions of the published model on a split, with the catalog rows in the same order.

    Attributes:
        predictions: rows with the columns of `prediction_frame`.
        rows: the catalog rows of the same images.
        thresholds: label -> threshold.
        labels: all labels.
        classes: describes the labels if they are exclusive classes, else None.
    """

    predictions: pd.DataFrame
    rows: pd.DataFrame
    thresholds: Mapping[str, float]
    labels: Sequence[str]
    classes: ExclusiveClasses | None = None


def evaluate_subgroups(evaluated: EvaluatedSplit, settings: Evaluate) -> list[Subgroup]:
    """Evaluates every group of every variable and its difference from the rest.

    All groups share the same bootstrap resamples of patients.
    """
    return [
        _evaluate_subgroup(evaluated, settings, variable, group, inside, rest)
        for variable, group, inside, rest in iter_groups(evaluated.rows)
    ]


def subgroup_section(groups: Sequence[Subgroup], split: str, min_patients: int) -> ReportSection:
    """Returns the report section on subgroups."""
    exclusive = any("classes" in group for group in groups)
    content = {"groups": groups, "split": split, "shown": SHOWN, "min_patients": min_patients, "exclusive": exclusive}
    return ReportSection("subgroups.html.j2", content)


def assign_groups(rows: pd.DataFrame) -> dict[str, pd.Series[str]]:
    """Assigns each image to a group of each variable: `sex`, `age`, `view`, `source` (folder of the file), and
    `manufacturer`, `laterality` and `color` if the catalog has them; of studies also `images`, those that they have.

    Only the 20 largest groups of a variable are kept. Variables with fewer than two groups are omitted.

    Args:
        rows: catalog rows of one split.

    Returns:
        Variable -> group names with the index of `rows`; missing if the group is unknown.
    """
    ages = pd.cut(rows["age"], [*AGES.values(), np.inf], right=False, labels=list(AGES))
    columns = {
        "sex": rows["sex"].astype("string"),
        "age": ages.astype("string"),
        "view": rows["view"].astype("string"),
        "source": source_folders(rows["uri"]),
        **{name: rows[name].astype("string") for name in ACQUISITION if name in rows},
    }
    if "lateral" in rows:
        columns["images"] = rows["lateral"].notna().map({True: BOTH_VIEWS, False: FRONTAL_ONLY}).astype("string")
    groups = {name: column.where(column.isin(_largest_groups(column))) for name, column in columns.items()}
    return {name: column for name, column in groups.items() if column.nunique() > 1}


def sort_groups(variable: str, names: Iterable[str]) -> list[str]:
    """Sorts the group names of a variable: age groups by age, others by name."""
    return sorted(names, key=list(AGES).index if variable == "age" else str)


def source_folders(uris: pd.Series[str]) -> pd.Series[str]:
    """Returns the folder of each file without the path that all folders share.

    Example:
        >>> source_folders(pd.Series(["gs://nih/one/1.png", "gs://nih/two/2.png"])).tolist()
        ['one', 'two']
    """
    folders = {uri: posixpath.dirname(uri) + "/" for uri in uris.unique()}
    prefix = posixpath.commonprefix(list(folders.values()))
    start = prefix.rfind("/") + 1
    return uris.map({uri: folder[start:].strip("/") or "." for uri, folder in folders.items()}).astype("string")


def _largest_groups(column: pd.Series[str]) -> list[str]:
    counts = column[column != ""].value_counts()
    return list(counts.index[:MAX_GROUPS])


def iter_groups(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series[bool], pd.Series[bool]]]:
    """Yields variable, group, and masks of the images in the group and in the other groups of the variable."""
    for variable, column in assign_groups(rows).items():
        for group in sort_groups(variable, column.dropna().unique()):
            inside = (column == group).fillna(False).astype(bool)
            yield variable, group, inside, column.notna() & ~inside


def _evaluate_subgroup(
    evaluated: EvaluatedSplit,
    settings: Evaluate,
    variable: str,
    group: str,
    inside: pd.Series[bool],
    rest: pd.Series[bool],
) -> Subgroup:
    patients, labels = encode_patients(evaluated.predictions["patient_id"]), evaluated.labels
    masks, min_patients = [mask.to_numpy() for mask in (inside, rest)], settings.evaluate_min_patients
    predictions, thresholds, classes = evaluated.predictions, evaluated.thresholds, evaluated.classes
    ranked = [
        label
        for mask in masks
        for label in rank_labels(predictions, labels, patients, thresholds, min_patients, classes, mask)
    ]
    values = bootstrap_by_patient(
        patients,
        lambda weights: np.stack([compute_statistics(label, weights) for label in ranked], axis=1),
        settings.evaluate_bootstrap_samples,
        settings.train_seed,
    )
    group_ranked, rest_ranked = ranked[: len(labels)], ranked[len(labels) :]
    group_values, rest_values = values[:, : len(labels)], values[:, len(labels) :]
    estimable = [ours.estimable and others.estimable for ours, others in zip(group_ranked, rest_ranked, strict=True)]
    found = Subgroup(
        variable=variable,
        group=group,
        n_images=int(inside.sum()),
        n_patients=len(np.unique(patients[masks[0]])),
        compared=list(compress(labels, estimable)),
        mean=_contrast(
            list(compress(zip(group_ranked, rest_ranked, strict=True), estimable)),
            group_values[:, estimable],
            rest_values[:, estimable],
        ),
        labels=_summarize_labels(labels, group_ranked, group_values),
    )
    if classes is not None and (accuracy := _compare_accuracies(evaluated, settings, patients, masks, classes)):
        found["classes"] = accuracy
    return found


def _compare_accuracies(
    evaluated: EvaluatedSplit,
    settings: Evaluate,
    patients: IntArray,
    masks: Sequence[NDArray[np.bool_]],
    classes: ExclusiveClasses,
) -> GroupAccuracy | None:
    """Compares the accuracy of exclusive classes in a group and in the rest; None if one has too few patients."""
    truth, scores = read_classes(evaluated.predictions, evaluated.labels)
    group, rest = (
        decide_classes(np.where(mask, truth, UNKNOWN_CLASS), scores, patients, evaluated.labels, classes)
        for mask in masks
    )
    if min(each.count_patients() for each in (group, rest)) < settings.evaluate_min_patients:
        return None
    values = bootstrap_by_patient(
        patients,
        lambda weights: np.stack([compute_class_statistics(each, weights)[:, :2] for each in (group, rest)], axis=1),
        settings.evaluate_bootstrap_samples,
        settings.train_seed,
    )
    (accuracies, majorities), others = values[:, 0].T, values[:, 1, 0]
    exact, exact_other = (
        proportion_interval(float(column[0]), each.count_patients())
        for column, each in ((accuracies, group), (others, rest))
    )
    return {
        "accuracy": {
            "group": percentile_interval(accuracies, lambda _: exact),
            "difference": percentile_interval(accuracies - others, lambda _: difference_interval(exact, exact_other)),
        },
        "majority_accuracy": percentile_interval(
            majorities, lambda value: proportion_interval(value, group.count_patients())
        ),
    }


def _contrast(
    labels: Sequence[tuple[RankedLabel, RankedLabel]], group: FloatArray, rest: FloatArray
) -> dict[str, Contrast]:
    """Compares means over labels; empty without labels.

    Args:
        labels: each label in the group and in the rest.
        group, rest: (1 + samples, labels, STATISTICS).
    """
    if not labels:
        return {}
    ours, others = zip(*labels, strict=True)

    def contrast(name: str) -> Contrast:
        group_values, rest_values = (values[:, :, STATISTICS.index(name)] for values in (group, rest))

        def exact(_: float) -> Estimate:
            return mean_exact_estimate(ours, name, group_values[0])

        def exact_difference(_: float) -> Estimate:
            return difference_interval(exact(0.0), mean_exact_estimate(others, name, rest_values[0]))

        group_mean, rest_mean = group_values.mean(axis=1), rest_values.mean(axis=1)
        return {
            "group": percentile_interval(group_mean, exact),
            "difference": percentile_interval(group_mean - rest_mean, exact_difference),
        }

    return {name: contrast(name) for name in SHOWN}


def _summarize_labels(
    names: Sequence[str], ranked: Sequence[RankedLabel], values: FloatArray
) -> dict[str, LabelMetrics]:
    return {
        name: summarize_label(label, values[:, index])
        for index, (name, label) in enumerate(zip(names, ranked, strict=True))
    }
