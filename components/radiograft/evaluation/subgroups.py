"""Where the published model fails: the same figures for each group of images, and its difference from the rest."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import pandas as pd

from radiograft.config import Evaluate
from radiograft.data.catalog import label_column, score_column
from radiograft.metrics.bootstrap import bootstrap_by_patient, encode_patients, percentile_interval
from radiograft.metrics.label_metrics import STATISTICS, RankedLabel, compute_statistics, rank_label, summarize_label
from radiograft.metrics.ranking import FloatArray
from radiograft.registry.result_types import Contrast, LabelMetrics, Subgroup
from radiograft.reporting.html import ReportSection

SHOWN = ("auroc", "sensitivity", "specificity")

AGES = {"under 18": 0, "18 to 39": 18, "40 to 59": 40, "60 to 79": 60, "80 and over": 80}  # years, from
MAX_GROUPS = 20


class EvaluatedSplit(NamedTuple):
    """The published model's predictions on a split with the catalog's rows, both in one order, and its thresholds."""

    predictions: pd.DataFrame
    rows: pd.DataFrame
    thresholds: Mapping[str, float]
    labels: Sequence[str]


def by_subgroup(judged: EvaluatedSplit, settings: Evaluate) -> list[Subgroup]:
    """Every group of every variable, on resamples of patients that all groups share."""
    return [
        _subgroup(judged, settings, variable, group, inside, rest)
        for variable, group, inside, rest in _parts(judged.rows)
    ]


def subgroup_section(found: Sequence[Subgroup], split: str, fewest_patients: int) -> ReportSection:
    """The report's part on subgroups."""
    content = {"groups": found, "split": split, "shown": SHOWN, "fewest_patients": fewest_patients}
    return ReportSection("subgroups.html.j2", content)


def _parts(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.Series[bool], pd.Series[bool]]]:
    for variable, column in group_rows(rows).items():
        for group in sort_groups(variable, column.dropna().unique()):
            inside = (column == group).fillna(False).astype(bool)
            yield variable, group, inside, column.notna() & ~inside


def _subgroup(
    judged: EvaluatedSplit,
    settings: Evaluate,
    variable: str,
    group: str,
    inside: pd.Series[bool],
    rest: pd.Series[bool],
) -> Subgroup:
    patients = encode_patients(judged.predictions["patient_id"])
    ranked = [
        rank_label(
            judged.predictions[label_column(name)].where(part.to_numpy()),  # the others' truth counts as unknown
            judged.predictions[score_column(name)],
            patients,
            judged.thresholds.get(name),
            settings.evaluate_min_patients,
        )
        for part in (inside, rest)
        for name in judged.labels
    ]
    values = bootstrap_by_patient(
        patients,
        lambda weights: np.stack([compute_statistics(label, weights) for label in ranked], axis=1),
        settings.evaluate_bootstrap_samples,
        settings.train_seed,
    )
    count = len(judged.labels)
    able = [ranked[place].estimable and ranked[place + count].estimable for place in range(count)]
    return {
        "variable": variable,
        "group": group,
        "n_images": int(inside.sum()),
        "n_patients": len(np.unique(patients[inside.to_numpy()])),
        "compared": list(compress(judged.labels, able)),
        "mean": _contrast(values[:, :count][:, able], values[:, count:][:, able]) if any(able) else {},
        "labels": _summaries(judged.labels, ranked[:count], values),
    }


def _contrast(group: FloatArray, rest: FloatArray) -> dict[str, Contrast]:
    """From statistics (1 + samples, labels, STATISTICS) of the labels that are estimable in both."""
    own, other = group.mean(axis=1), rest.mean(axis=1)
    return {
        name: {
            "group": percentile_interval(own[:, place]),
            "difference": percentile_interval(own[:, place] - other[:, place]),
        }
        for name in SHOWN
        for place in [STATISTICS.index(name)]
    }


def _summaries(names: Sequence[str], ranked: Sequence[RankedLabel], values: FloatArray) -> dict[str, LabelMetrics]:
    return {
        name: summarize_label(label, values[:, place])
        for place, (name, label) in enumerate(zip(names, ranked, strict=True))
    }


def group_rows(rows: pd.DataFrame) -> dict[str, pd.Series[str]]:
    """Which group each image is in, by variable: `sex`, `age`, `view`, `source`.

    A variable is there when it has two groups or more; only its 20 largest groups count. The source is the folder of
    the image's file.

    Args:
        rows: of the catalog, of one split.

    Returns:
        Series of strings with the index of `rows`, missing where nothing is known.
    """
    bands = pd.cut(rows["age"], [*AGES.values(), np.inf], right=False, labels=list(AGES))
    columns = {
        "sex": rows["sex"].astype("string"),
        "age": bands.astype("string"),
        "view": rows["view"].astype("string"),
        "source": source_folders(rows["uri"]),
    }
    known = {name: column.where(column.isin(_largest(column))) for name, column in columns.items()}
    return {name: column for name, column in known.items() if column.nunique() > 1}


def sort_groups(variable: str, names: Iterable[str]) -> list[str]:
    """Names of a variable's groups as a reader expects them: ages rising, all else by name."""
    return sorted(names, key=list(AGES).index if variable == "age" else str)


def source_folders(uris: pd.Series[str]) -> pd.Series[str]:
    """The folder of each file, without what all folders have in common."""
    folders = {uri: posixpath.dirname(uri) + "/" for uri in uris.unique()}
    shared = posixpath.commonprefix(list(folders.values()))
    start = shared.rfind("/") + 1
    return uris.map({uri: folder[start:].strip("/") or "." for uri, folder in folders.items()}).astype("string")


def _largest(column: pd.Series[str]) -> list[str]:
    counts = column[column != ""].value_counts()
    return list(counts.index[:MAX_GROUPS])
