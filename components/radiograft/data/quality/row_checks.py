"""Checks of dataset rows: defects, exact duplicates, and rows that the settings exclude."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

import pandas as pd

from radiograft.config import FINDINGS, NO_FINDING, Ingest
from radiograft.config.data import MULTILABEL, REGRESSION
from radiograft.config.data_policy import CONTRADICTION, CONTRADICTORY_COPIES, MISSPELLED, UNKNOWN_VIEW
from radiograft.data.catalog import SPLITS, label_class, label_column
from radiograft.data.soft_labels import majority_class
from radiograft.data.sources import chexpert
from radiograft.imaging.views import projection

MAX_SPELLINGS = 10  # listed in a note
MIN_SIMILARITY = 0.8  # difflib's ratio: 0.89 for Pneumonia and `Pnuemonia`, 0.67 for Pneumonia and Pneumothorax

HELD_OUT_MOST = ("test", "validation", "train")


def check_rows(rows: pd.DataFrame, findings: pd.DataFrame, settings: Ingest) -> dict[str, pd.Series[bool]]:
    """Returns which rows are unusable, unreliable or excluded by the settings, by reason.

    Args:
        rows: image_id, bytes, view, split and the label columns.
        findings: classes of all findings of the dataset, indexed as `rows`.
        settings: labels, views and negatives.
    """
    truth = rows[list(map(label_column, settings.findings()))]
    flawed = {
        "empty file": rows["bytes"] == 0,
        "in no official split list": rows["split"].isna(),
        **_unwanted_views(rows["view"], settings.table_layout().views),
        CONTRADICTION: has_contradiction(findings, settings.findings()),
        MISSPELLED: _any(findings, has_misspelled_label(findings, settings.findings())),
        "all requested labels unknown": truth.isna().all(axis="columns"),
    }
    if settings.data_negatives == "no_finding":
        positive = majority_class(truth).eq(1.0).any(axis="columns")
        flawed["neither a requested finding nor 'No Finding'"] = ~positive & ~_any(findings, [NO_FINDING])
    return flawed


def _unwanted_views(views: pd.Series[str], wanted: str) -> dict[str, pd.Series[bool]]:
    if wanted == "all":
        return {}
    shown = _projections(views)
    unknown = shown.eq("").fillna(False).astype(bool)
    return {f"not a {wanted} view": shown.notna() & shown.ne(wanted) & ~unknown, UNKNOWN_VIEW: unknown}


def _projections(views: pd.Series[str]) -> pd.Series[str]:
    """Returns the projection of each view, missing if the view is."""
    return views.map({view: projection(view) for view in views.dropna().unique()}).astype("string")


def view_notes(views: pd.Series[str], wanted: str, *, named: bool = True) -> tuple[str, ...]:
    """Returns a note that counts the spellings that are neither frontal nor lateral, unless all views are wanted.

    Args:
        views: view of each image, missing if unknown.
        wanted: the option `views` of data_table.
        named: whether the note lists the spellings.
    """
    unknown = views[_projections(views).eq("").fillna(False)].value_counts()
    if wanted == "all" or unknown.empty:
        return ()
    listed = [f"{str(view)[:40]!r} ({count})" for view, count in unknown.head(MAX_SPELLINGS).items()] if named else []
    more = [f"{len(unknown) - len(listed)} spellings"] if len(unknown) > len(listed) else []
    return (f"{unknown.sum()} images have a view that is neither frontal nor lateral: {', '.join(listed + more)}",)


def has_contradiction(findings: pd.DataFrame, labels: Iterable[str]) -> pd.Series[bool]:
    """Returns which images have both 'No Finding' and another label.

    Other columns do not count: they may hold findings that nobody requested, or no findings, such as `male`.
    """
    return _any(findings, [NO_FINDING]) & _any(findings, set(labels) - {NO_FINDING})


def has_misspelled_label(findings: pd.DataFrame, labels: Iterable[str]) -> dict[str, str]:
    """Maps unknown findings that look like a misspelling of a label to that label."""
    known = {NO_FINDING, *FINDINGS, *chexpert.FINDINGS, *labels}
    return {
        name: label for name in map(str, findings) if name not in known for label in labels if _similar(name, label)
    }


def label_notes(findings: pd.DataFrame, labels: Iterable[str]) -> tuple[str, ...]:
    """Returns a note for each finding that may be misspelled."""
    return tuple(
        f"{name!r} ({int(findings[name].eq(1.0).sum())} images) may be a misspelling of {label}; "
        f"these images count as negative for {label}"
        for name, label in has_misspelled_label(findings, labels).items()
    )


def _similar(name: str, label: str) -> bool:
    name, label = name.casefold(), label.casefold()
    return name[:1] == label[:1] and difflib.SequenceMatcher(None, name, label).ratio() >= MIN_SIMILARITY


def _any(findings: pd.DataFrame, names: Iterable[str]) -> pd.Series[bool]:
    return findings.reindex(columns=list(names)).eq(1.0).any(axis="columns")


def find_contradictory_copies(
    rows: pd.DataFrame, labels: Iterable[str], task: str = MULTILABEL
) -> dict[str, pd.Series[bool]]:
    """Returns which rows are identical to an image of any split that has a different label, by reason.

    The label of none of them can be trusted. An unknown label differs from none.

    Args:
        rows: `md5` and the label columns.
        labels: names of the labels.
        task: of `regression`, the numbers themselves are compared, else the classes.
    """
    copied = rows["md5"].duplicated(keep=False)
    truth = rows.loc[copied, list(map(label_column, labels))]
    truth = truth if task == REGRESSION else majority_class(truth)
    different = truth.groupby(rows["md5"][copied]).transform("nunique").gt(1).any(axis="columns")
    return {CONTRADICTORY_COPIES: different.reindex(rows.index, fill_value=False)}


def find_exact_duplicates(rows: pd.DataFrame) -> dict[str, pd.Series[bool]]:
    """Returns which rows are exact duplicates, by reason.

    Of identical images, the first one in the most held-out split is kept. An official test split stays complete, so
    that metrics are comparable with those of others.

    Args:
        rows: `md5`, `split` and `official`.
    """
    copied = rows[rows["md5"].duplicated(keep=False)]
    ordered = copied.loc[copied["split"].map(HELD_OUT_MOST.index).sort_values(kind="stable").index]
    repeated = ordered["md5"].duplicated() & ~_in_official_test(ordered)
    elsewhere = ordered.groupby("md5")["split"].transform("first") != ordered["split"]
    return {
        "byte-identical to an image in a held-out split": (repeated & elsewhere).reindex(rows.index, fill_value=False),
        "byte-identical to an earlier image": (repeated & ~elsewhere).reindex(rows.index, fill_value=False),
    }


def duplicate_notes(rows: pd.DataFrame) -> tuple[str, ...]:
    """Returns a note if the official test split contains duplicates."""
    count = int(rows["md5"][_in_official_test(rows)].duplicated().sum())
    if not count:
        return ()
    return (f"{count} images of the official test split are byte-identical to others in it and stay",)


def single_patient_notes(rows: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Returns a note for each split in which all images with a label, if any, show one patient."""
    notes = []
    for split in SPLITS:
        part = rows[rows["split"] == split]
        patients = {label: part["patient_id"][label_class(part, label) == 1.0] for label in labels}
        single = [
            f"{label} ({len(ids)} images)" for label, ids in patients.items() if len(ids) > 1 and ids.nunique() == 1
        ]
        if single:
            notes.append(f"in {split}, the images with a label show one patient: {', '.join(single)}")
    return notes


def _in_official_test(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["official"].eq("test").fillna(False).astype(bool)
