"""What the data report says, as data: counts by split, what was left out and by which policy, what to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from radiograft.config.data_policy import NOT_ASKED_FOR, DataPolicy, defect_of
from radiograft.data import change_detection
from radiograft.data.catalog import SPLITS, count_splits, label_column, summarize_exclusions

FILE = "data.json"  # in the folder of shards
FEW_PATIENTS = 10  # evaluate_min_patients asks for as many unless told otherwise
DECADES = [f"{age} to {age + 9}" for age in range(0, 90, 10)] + ["90 and more"]
UNKNOWN = "unknown"

UNKNOWN_BEFORE = "no earlier version was looked for"


def summarize_data(
    rows: pd.DataFrame, labels: Sequence[str], excluded: pd.DataFrame, suspects: pd.DataFrame, policy: DataPolicy
) -> dict[str, Any]:
    """The report's facts, ready for JSON; ids of images, but nothing of their content.

    Args:
        rows: of the images that stay: patient_id, view, sex, age (years), split and the labels' columns.
        excluded: image_id and reason of those that do not; `suspects`: of those that stay although.
    """
    counts = count_splits(rows, labels)
    return {
        "splits": {split: counts[split] | _people(rows[rows["split"] == split]) for split in SPLITS},
        "excluded": _groups(excluded, policy),
        "suspects": _groups(suspects, policy),
        "rare": rare_labels(rows, labels),
        "policy": dataclasses.asdict(policy),
    }


def rare_labels(rows: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """A sentence for each split that has labels which fewer than FEW_PATIENTS patients have."""
    sentences = []
    for split in SPLITS:
        part = rows[rows["split"] == split]
        counts = {label: part["patient_id"][part[label_column(label)].eq(1.0)].nunique() for label in labels}
        few = [f"{label} ({count})" for label, count in counts.items() if count < FEW_PATIENTS]
        if few:
            sentences.append(f"rare in {split}, where figures want {FEW_PATIENTS} patients: {', '.join(few)}")
    return sentences


def _people(part: pd.DataFrame) -> dict[str, Any]:
    """Images by view, sex and decade of age."""
    ages = pd.cut(part["age"], [*range(0, 100, 10), float("inf")], right=False, labels=DECADES)
    by_age = {**dict.fromkeys([*DECADES, UNKNOWN], 0), **_counted(ages.astype("string"))}
    return {"views": _counted(part["view"]), "sexes": _counted(part["sex"]), "ages": by_age}


def _counted(values: pd.Series[str]) -> dict[str, int]:
    counts = values.fillna(UNKNOWN).value_counts().sort_index()
    return {str(name): int(count) for name, count in counts.items()}


def _groups(found: pd.DataFrame, policy: DataPolicy) -> list[dict[str, Any]]:
    return [
        {
            "defect": defect_of(group["reason"]),
            "policy": "" if group["reason"] in NOT_ASKED_FOR else policy.treatment(group["reason"]),
            **group,
        }
        for group in summarize_exclusions(found)
    ]


def record_previous_counts(catalog: Path, shards: Path) -> None:
    """Adds `since` to the facts in the folder of shards.

    Args:
        catalog: its folder, where ingest noted the version in production.
    """
    facts = json.loads((shards / FILE).read_text())
    found = (
        change_detection.read(catalog)
        if (catalog / change_detection.FILE).exists()
        else change_detection.ChangeReport(True, UNKNOWN_BEFORE, None)
    )
    facts["since"] = {"reason": found.reason, **compare_with_previous(found.earlier, facts)}
    (shards / FILE).write_text(json.dumps(facts, indent=2))


def compare_with_previous(then: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Any]:
    """The version's number, and rows of `split` (empty for what was left out), `what`, `then`, `now`, `difference`.

    Args:
        then: `version` and the summary of its data; None where there is no version: there are no rows then.
        now: the summary of the data: `labels`, `splits`, `excluded`.
    """
    if then is None:
        return {"version": None, "kept": [], "excluded": []}
    return {"version": then["version"], "kept": list(_kept(then, now)), "excluded": list(_excluded(then, now))}


def _kept(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for split in SPLITS:
        before, after = (_change_counts(summary["splits"].get(split, {})) for summary in (then, now))
        for what in dict.fromkeys([*after, *before]):
            yield _row(what, before.get(what), after.get(what), split)


def _change_counts(split: Mapping[str, Any]) -> dict[str, int]:
    plain = {name: split[name] for name in ("pictures", "patients") if name in split}
    return {**plain, **{f"with {label}": count for label, count in split.get("positives", {}).items()}}


def _excluded(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    before, after = ({group["reason"]: group["count"] for group in each["excluded"]} for each in (then, now))
    for reason in dict.fromkeys([*after, *before]):
        yield _row(reason, before.get(reason, 0), after.get(reason, 0))


def _row(what: str, then: int | None, now: int | None, split: str = "") -> dict[str, Any]:
    """A label that one side does not know has no count there, and no difference."""
    difference = None if then is None or now is None else now - then
    return {"split": split, "what": what, "then": then, "now": now, "difference": difference}
