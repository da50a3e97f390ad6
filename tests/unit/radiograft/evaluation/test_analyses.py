"""The report on calibration, subgroups and shortcuts, and the split they are measured on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from radiograft.config import Evaluate
from radiograft.evaluation import results
from radiograft.metrics.label_metrics import choose_thresholds
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.reporting.evaluation_report import Report, render_report
from tests.helpers.catalogs import catalog, simulate_predictions
from tests.helpers.report_page import Page

SETTINGS = Evaluate(publish_registry="registry", evaluate_bootstrap_samples=100)


def analyze(rows: pd.DataFrame) -> dict[str, Any]:
    """Analyzes a good model on rows of all splits and adds the settings that the report needs."""
    predictions = simulate_predictions(rows).predictions
    parts = {split: predictions[predictions["split"] == split] for split in ("validation", "test")}
    thresholds = choose_thresholds(parts["validation"], ["Mass"])
    metrics = {
        split: evaluate_predictions(part, ["Mass"], thresholds, 0, 0, SETTINGS.evaluate_min_patients)
        for split, part in parts.items()
    }
    found = results.analyze(SETTINGS, rows, predictions, thresholds, metrics)
    return {**found, "lineage": {"settings": {"evaluate_min_patients": SETTINGS.evaluate_min_patients}}}


def three_splits() -> pd.DataFrame:
    """Returns catalog rows of training, validation and test."""
    sizes = {"train": 400, "validation": 240, "test": 300}
    return pd.concat([catalog(size, size, split) for split, size in sizes.items()], ignore_index=True)


@pytest.fixture(scope="module")
def analyses() -> dict[str, Any]:
    """Analyses of data in which the file size predicts Mass and test has only four patients with a third view."""
    rows = three_splits()
    rows["bytes"] += (9000 * rows["label:Mass"]).astype(int)
    rows["view"] = rows["view"].mask((rows["split"] == "test") & (rows.groupby("split").cumcount() < 8), "LL")
    return analyze(rows)


@pytest.fixture(scope="module")
def page(analyses: dict[str, Any], full_report: Report) -> Page:
    return Page(
        render_report(
            replace(full_report, sections=results.analysis_sections(analyses), notes=results.analysis_notes(analyses))
        )
    )


def test_report_calibration_shows_table_and_curve(analyses: dict[str, Any], page: Page) -> None:
    mass = analyses["calibration"]["labels"]["Mass"]
    values = (
        *(mass[when]["expected_error"] for when in ("before", "after")),
        *(mass[when]["brier"] for when in ("before", "after")),
        *(mass["uninformed_brier"], mass["temperature"]),
    )
    assert ["Mass", *(f"{value:.3f}" for value in values)] in page.row("Mass")
    descriptions = [str(attributes["alt"]) for attributes in page.images()]
    assert (
        f"Reliability diagram for Mass: expected calibration error {values[0]:.3f} before and {values[1]:.3f} after "
        "scaling" in descriptions
    )


def test_report_subgroups_shows_a_row_per_group(analyses: dict[str, Any], page: Page) -> None:
    (women,) = [group for group in analyses["subgroups"] if group["group"] == "F"]
    auroc = women["mean"]["auroc"]
    shown = [
        f"{estimate['value']:.3f} {estimate['low']:.3f} to {estimate['high']:.3f}"
        for estimate in (auroc["group"], auroc["difference"])
    ]
    (row,) = page.row("Sex: F")
    assert [row[1], row[3]] == shown
    assert row[-2:] == ["1 of 1", f"{women['n_images']} {women['n_patients']} patients"]
    assert page.row("View: LL") == []
    reason = "Not compared, because the subgroup or the rest has too few patients:"
    assert f"{reason} View LL (8 images, 4 patients)." in page.text


def test_report_analyses_on_test_omits_optimism_note(page: Page) -> None:
    assert "optimistic" not in page.text.split("Subgroup analysis")[2].split("Benefit of pretraining")[0]


def test_report_shortcut_is_marked_and_in_summary(page: Page) -> None:
    assert len(page.row("File size Mass, possible shortcut")) == 1
    assert len(page.row("Age Mass")) == 1
    summary = page.text.split(" Summary ")[2].split("Comparison of strategies")[0]
    assert "File size alone predicts nearly as well as the model, or better: Mass on test" in summary


def test_analyze_test_without_negatives_uses_validation(full_report: Report) -> None:
    rows = three_splits()
    rows["label:Mass"] = rows["label:Mass"].mask(rows["split"] == "test", 1.0)
    analyses = analyze(rows)
    assert analyses["judged_on"] == "validation"
    assert sum(group["n_images"] for group in analyses["subgroups"] if group["variable"] == "sex") == 240
    assert {shortcut["label"] for shortcut in analyses["shortcuts"]} == {"Mass"}
    assert analyses["calibration"]["labels"] == {}
    shown = Page(render_report(replace(full_report, sections=results.analysis_sections(analyses))))
    assert "No label is estimable on test." in shown.text
    assert "Fine-tuning on validation, by subgroup" in shown.text
    assert "Epoch and thresholds were selected on these images, so these results are optimistic." in shown.text
    assert "The epoch was selected on these images, so the AUROC of the model is optimistic." in shown.text


def test_report_nothing_to_analyze_says_so(full_report: Report) -> None:
    rows = three_splits().assign(view=None, sex=None, age=float("nan"), uri="mass.npz#images/1", bytes=784)
    rows = rows[(rows["split"] == "train") | (rows.groupby("split").cumcount() < 8)]
    analyses = analyze(rows)
    assert (analyses["subgroups"], analyses["shortcuts"]) == ([], [])
    assert results.analysis_notes(analyses) == []
    shown = Page(render_report(replace(full_report, sections=results.analysis_sections(analyses))))
    assert "No subgroups, because the images do not differ in sex, age group, view or source folder" in shown.text
    assert "Nothing to compare" in shown.text
