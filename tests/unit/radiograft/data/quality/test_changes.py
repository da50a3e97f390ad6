"""Comparison of the data with the version in production, and its section in the data report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from radiograft.data import change_detection
from radiograft.data.quality import summary
from radiograft.reporting import data_report
from tests.helpers.report_page import Page

THEN: dict[str, Any] = {
    "version": 3,
    "splits": {
        "train": {"pictures": 1200, "patients": 900, "positives": {"Mass": 30, "Edema": 4}},
        "validation": {"pictures": 10, "patients": 10, "positives": {"Mass": 5, "Edema": 1}},
        "test": {"pictures": 40, "patients": 30, "positives": {"Mass": 12, "Edema": 2}},
    },
    "excluded": [{"reason": "empty file", "count": 2, "examples": ["a"]}, {"reason": "gone", "count": 1}],
}
NOW: dict[str, Any] = {
    "splits": {
        "train": {"pictures": 1300, "patients": 899, "positives": {"Mass": 30, "Hernia": 7}},
        "validation": {"pictures": 10, "patients": 10, "positives": {"Mass": 5, "Hernia": 1}},
        "test": {"pictures": 40, "patients": 30, "positives": {"Mass": 12, "Hernia": 0}},
    },
    "excluded": [{"reason": "blank", "count": 4, "examples": ["b"]}, {"reason": "empty file", "count": 2}],
}


def rows(table: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in ("split", "what", "then", "now", "difference")) for row in table]


def test_compare_with_previous_returns_counts_by_split_and_reason() -> None:
    found = summary.compare_with_previous(THEN, NOW)
    assert found["version"] == 3
    assert rows(found["kept"])[:5] == [
        ("train", "images", 1200, 1300, 100),
        ("train", "patients", 900, 899, -1),
        ("train", "with Mass", 30, 30, 0),
        ("train", "with Hernia", None, 7, None),
        ("train", "with Edema", 4, None, None),
    ]
    assert [row["split"] for row in found["kept"]] == ["train"] * 5 + ["validation"] * 5 + ["test"] * 5
    assert rows(found["excluded"]) == [("", "blank", 0, 4, 4), ("", "empty file", 2, 2, 0), ("", "gone", 1, 0, -1)]


def test_compare_with_previous_no_version_returns_empty_tables() -> None:
    assert summary.compare_with_previous(None, NOW) == {"version": None, "kept": [], "excluded": []}


def _page(folder: Path, report: change_detection.ChangeReport | None) -> Page:
    """Renders the data report of NOW with this change report."""
    people = {"views": {"PA": 1}, "sexes": {"M": 1}, "ages": dict.fromkeys((*summary.DECADES, summary.UNKNOWN), 0)}
    classes = dict.fromkeys(("positives", "negatives", "unknown", "positive_patients"), 1)
    people |= {"labels": dict.fromkeys(("Mass", "Hernia"), classes), "pixels": None}
    facts = NOW | {
        "splits": {split: counts | people for split, counts in NOW["splits"].items()},
        "excluded": [group | {"defect": "", "policy": "", "examples": []} for group in NOW["excluded"]],
        **{name: [] for name in ("suspects", "rare", "notes")},
        **{name: {} for name in ("policy", "converted")},
        "labels": ["Mass", "Hernia"],
        "source": "/data",
        "fingerprint": "4f",
    }
    (folder / summary.FILE).write_text(json.dumps(facts))
    if report:
        (folder / change_detection.FILE).write_text(json.dumps(report._asdict()))
    summary.record_previous_counts(folder, folder)
    data_report.write_data_report(folder, folder / "data.html")
    return Page((folder / "data.html").read_text())


def test_data_report_shows_changes(tmp_path: Path) -> None:
    found = _page(tmp_path, change_detection.ChangeReport(True, "the data changed since version 3", THEN))
    assert "Changes since version 3 The data changed since version 3." in found.text
    assert ["Included", "Version 3", "Now", "Difference"] in found.rows
    assert found.row("train: images") == [["train: images", "1,200", "1,300", "+100"]]
    assert found.row("train: patients") == [["train: patients", "900", "899", "-1"]]
    assert found.row("test: with Mass") == [["test: with Mass", "12", "12", "0"]]
    assert found.row("train: with Edema") == [["train: with Edema", "4", "\N{EN DASH}", "\N{EN DASH}"]]
    assert ["blank", "0", "4", "+4"] in found.rows


def test_data_report_no_version_says_so(tmp_path: Path) -> None:
    found = _page(tmp_path, change_detection.ChangeReport(True, "no version is in production yet", None))
    assert "Changes since the last version: No version is in production yet." in found.text
    assert ["Included", "Version 3", "Now", "Difference"] not in found.rows


def test_data_report_no_change_report_says_so(tmp_path: Path) -> None:
    assert (
        "Changes since the last version: No comparison with an earlier version was made." in _page(tmp_path, None).text
    )
