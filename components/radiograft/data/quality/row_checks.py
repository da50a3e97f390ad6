"""What is wrong with rows of a data set, or not asked for: by reason, which of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import pandas as pd

from radiograft.config import FINDINGS, NO_FINDING, Ingest
from radiograft.config.data_policy import CONTRADICTION, MISSPELLED
from radiograft.data.catalog import label_column
from radiograft.data.sources import chexpert

UNWANTED_VIEWS = {"frontal": ("L", "LL", "RL", "LAT", "LATERAL"), "lateral": ("PA", "AP", "FRONTAL"), "all": ()}
BESIDE_NO_FINDING = ("Support Devices",)  # CheXpert's No Finding says nothing of these (Irvin et al. 2019)
ALIKE = 0.8  # difflib's ratio; `Pnuemonia` has 0.89 to Pneumonia, Pneumothorax 0.67

HELD_OUT_MOST = ("test", "validation", "train")


def check_rows(rows: pd.DataFrame, findings: pd.DataFrame, settings: Ingest) -> dict[str, pd.Series[bool]]:
    """Rows that cannot be used or are not to be trusted, by reason.

    Args:
        rows: image_id, bytes, view, split and the labels' columns.
        findings: of the source, index as `rows`.
    """
    truth = rows[[label_column(label) for label in settings.findings()]]
    views = settings.table_layout().views
    found = {
        "empty file": rows["bytes"] == 0,
        "in no official split list": rows["split"].isna(),
        f"not a {views} view": rows["view"].isin(UNWANTED_VIEWS[views]),
        CONTRADICTION: has_contradiction(findings),
        MISSPELLED: _any(findings, has_misspelled_label(findings, settings.findings())),
        "all requested labels unknown": truth.isna().all(axis="columns"),
    }
    if settings.data_negatives == "no_finding":
        positive = truth.eq(1.0).any(axis="columns")
        marked = (findings.get(NO_FINDING, 0.0) == 1.0) & (findings.sum(axis="columns") == 1.0)
        found["neither a requested finding nor 'No Finding'"] = ~positive & ~marked
    return found


def has_contradiction(findings: pd.DataFrame) -> pd.Series[bool]:
    """Images that are said to show nothing, and something."""
    others = [name for name in map(str, findings) if name not in (NO_FINDING, *BESIDE_NO_FINDING)]
    return _any(findings, [NO_FINDING]) & _any(findings, others)


def has_misspelled_label(findings: pd.DataFrame, labels: Iterable[str]) -> dict[str, str]:
    """Findings of no known name that are spelled almost like a label, and that label."""
    known = {NO_FINDING, *FINDINGS, *chexpert.FINDINGS, *labels}
    return {name: label for name in map(str, findings) if name not in known for label in labels if _alike(name, label)}


def label_notes(findings: pd.DataFrame, labels: Iterable[str]) -> tuple[str, ...]:
    """What is to be said of findings that may be misspelled, a sentence each."""
    return tuple(
        f"{name!r} ({int(findings[name].eq(1.0).sum())} images) may be {label}: they count as free of {label}"
        for name, label in has_misspelled_label(findings, labels).items()
    )


def _alike(name: str, label: str) -> bool:
    one, other = name.casefold(), label.casefold()
    return one[:1] == other[:1] and difflib.SequenceMatcher(None, one, other).ratio() >= ALIKE


def _any(findings: pd.DataFrame, names: Iterable[str]) -> pd.Series[bool]:
    return findings.reindex(columns=list(names)).eq(1.0).any(axis="columns")


def find_exact_duplicates(rows: pd.DataFrame) -> dict[str, pd.Series[bool]]:
    """Which rows repeat another one, by reason, from `md5`, `split` and `official`.

    Of equal images the one in the split held out most stays, and there the first. An official test split stays whole,
    because others' figures are measured on all of it.
    """
    order = rows["split"].map(HELD_OUT_MOST.index).sort_values(kind="stable").index
    ordered = rows.loc[order]
    repeated = ordered["md5"].duplicated() & ~_officially_tests(ordered)
    elsewhere = ordered.groupby("md5")["split"].transform("first") != ordered["split"]
    return {
        "byte-identical to an image in a held-out split": (repeated & elsewhere).reindex(rows.index),
        "byte-identical to an earlier image": (repeated & ~elsewhere).reindex(rows.index),
    }


def duplicate_notes(rows: pd.DataFrame) -> tuple[str, ...]:
    """What is to be said of the repeats that stay, a sentence or none."""
    count = int(rows["md5"][_officially_tests(rows)].duplicated().sum())
    return (f"{count} images of the official test split are byte-identical to others in it and stay",) * (count > 0)


def _officially_tests(rows: pd.DataFrame) -> pd.Series[bool]:
    return rows["official"].eq("test").fillna(False).astype(bool)
