"""Summarizes the data for the data report: counts, exclusions, suspects, and changes since the last version."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from radiograft.config.data import MULTILABEL, REGRESSION
from radiograft.config.data_policy import NOT_ASKED_FOR, DataPolicy, defect_of
from radiograft.data import change_detection
from radiograft.data.catalog import SPLITS, count_splits, label_class, summarize_exclusions

FILE = "data.json"  # in the folder of shards
FEW_PATIENTS = 10  # default of evaluate_min_patients
DECADES = [f"{age} to {age + 9}" for age in range(0, 90, 10)] + ["90 and more"]
UNKNOWN = "unknown"

UNKNOWN_BEFORE = "no comparison with an earlier version was made"


def summarize_data(
    rows: pd.DataFrame,
    labels: Sequence[str],
    excluded: pd.DataFrame,
    suspects: pd.DataFrame,
    policy: DataPolicy,
    task: str = MULTILABEL,
) -> dict[str, Any]:
    """Returns the contents of the data report, serializable as JSON. They include image IDs but no image content.

    Args:
        rows: the images that are kept: patient_id, view, sex, age (years), split, the label columns and, if recorded,
            pixels.
        labels: names of the labels.
        excluded: image_id and reason of the excluded images.
        suspects: image_id and reason of images that are kept although they may be defective.
        policy: how each kind of defect is handled.
        task: of `regression`, the labels are numbers.
    """
    classes = () if task == REGRESSION else labels
    counts, parts = count_splits(rows, labels, task), {split: rows[rows["split"] == split] for split in SPLITS}
    return {
        "splits": {
            split: counts[split]
            | _demographics(part)
            | {"labels": count_classes(part, classes), "pixels": count_pixels(part)}
            for split, part in parts.items()
        },
        "excluded": _group_by_reason(excluded, policy),
        "suspects": _group_by_reason(suspects, policy),
        "rare": rare_labels(rows, classes),
        "policy": dataclasses.asdict(policy),
    }


def rare_labels(rows: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Returns a note for each split with labels that fewer than FEW_PATIENTS patients have."""
    notes = []
    for split in SPLITS:
        part = rows[rows["split"] == split]
        counts = {label: part["patient_id"][label_class(part, label).eq(1.0)].nunique() for label in labels}
        few = [f"{label} ({count})" for label, count in counts.items() if count < FEW_PATIENTS]
        if few:
            notes.append(f"rare in {split} (fewer than {FEW_PATIENTS} patients): {', '.join(few)}")
    return notes


def count_classes(rows: pd.DataFrame, labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Returns the numbers of positive, negative and unknown images and of positive patients of each label.

    Args:
        rows: patient_id and the label columns; a soft label counts as its class.
        labels: names of the labels.
    """
    truths = {label: label_class(rows, label) for label in labels}
    return {
        label: {
            "positives": int(truth.eq(1).sum()),
            "negatives": int(truth.eq(0).sum()),
            "unknown": int(truth.isna().sum()),
            "positive_patients": int(rows["patient_id"][truth.eq(1)].nunique()),
        }
        for label, truth in truths.items()
    }


def count_pixels(rows: pd.DataFrame) -> dict[str, int] | None:
    """Returns min, median and max of the number of pixels of the files before resizing; None if it is not recorded."""
    known = rows["pixels"][rows["pixels"] > 0] if "pixels" in rows else rows.iloc[:0]
    if not len(known):
        return None
    return {name: int(getattr(known, name)()) for name in ("min", "median", "max")}


def _demographics(part: pd.DataFrame) -> dict[str, Any]:
    """Returns the number of images by view, sex and decade of age."""
    ages = pd.cut(part["age"], [*range(0, 100, 10), float("inf")], right=False, labels=DECADES)
    by_age = {**dict.fromkeys([*DECADES, UNKNOWN], 0), **_count_values(ages.astype("string"))}
    return {"views": _count_values(part["view"]), "sexes": _count_values(part["sex"]), "ages": by_age}


def _count_values(values: pd.Series[str]) -> dict[str, int]:
    counts = values.fillna(UNKNOWN).value_counts().sort_index()
    return {str(name): int(count) for name, count in counts.items()}


def _group_by_reason(found: pd.DataFrame, policy: DataPolicy) -> list[dict[str, Any]]:
    return [
        {
            "defect": defect_of(group["reason"]),
            "policy": "" if group["reason"] in NOT_ASKED_FOR else policy.treatment(group["reason"]),
            **group,
        }
        for group in summarize_exclusions(found)
    ]


def record_previous_counts(catalog: Path, shards: Path) -> None:
    """Adds `since`, the changes since the version in production, to the summary in the folder of shards.

    Args:
        catalog: folder of the catalog, which contains the change report of ingest.
        shards: folder of the shards.
    """
    facts = json.loads((shards / FILE).read_text())
    report = (
        change_detection.read(catalog)
        if (catalog / change_detection.FILE).exists()
        else change_detection.ChangeReport(True, UNKNOWN_BEFORE, None)
    )
    facts["since"] = {"reason": report.reason, **compare_with_previous(report.earlier, facts)}
    (shards / FILE).write_text(json.dumps(facts, indent=2))


def compare_with_previous(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the version's number and the rows of a table that compares its data with the present data.

    The tables `kept` and `excluded` have `split` (empty for exclusions), `what`, `then`, `now` and `difference`.

    Args:
        then: `version` and its data summary; None if there is no earlier version, which gives empty tables.
        now: data summary of this run: `splits` and `excluded`.
    """
    if then is None:
        return {"version": None, "kept": [], "excluded": []}
    return {
        "version": then["version"],
        "kept": list(_compare_splits(then, now)),
        "excluded": list(_compare_exclusions(then, now)),
    }


def _compare_splits(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        before, after = (_split_counts(summary["splits"].get(split, {})) for summary in (then, now))
        for what in dict.fromkeys([*after, *before]):
            yield _row(what, before.get(what), after.get(what), split)


def _split_counts(split: Mapping[str, Any]) -> dict[str, int]:
    names = {"pictures": "images", "patients": "patients"}
    totals = {name: split[key] for key, name in names.items() if key in split}
    return {**totals, **{f"with {label}": count for label, count in split.get("positives", {}).items()}}


def _compare_exclusions(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    before, after = ({group["reason"]: group["count"] for group in summary["excluded"]} for summary in (then, now))
    for reason in dict.fromkeys([*after, *before]):
        yield _row(reason, before.get(reason, 0), after.get(reason, 0))


def _row(what: str, then: int | None, now: int | None, split: str = "") -> dict[str, Any]:
    """Returns a row of the table. A label that one side lacks has no count there and no difference."""
    difference = None if then is None or now is None else now - then
    return {"split": split, "what": what, "then": then, "now": now, "difference": difference}
