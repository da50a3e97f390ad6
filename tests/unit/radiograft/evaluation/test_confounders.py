"""Confounders: variables that are associated with a label among the training images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, fisher_exact

from radiograft.config import Evaluate
from radiograft.config.augmentation import Augmentation
from radiograft.data.catalog import no_boxes
from radiograft.data.shards.dataset import Shards
from radiograft.evaluation import results
from radiograft.evaluation.confounders import (
    adjust_p_values,
    confounder_section,
    confounder_warnings,
    find_confounders,
    odds_ratio,
)
from radiograft.imaging.geometry import ImageInput
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.results import Confounder
from radiograft.reporting.evaluation_report import Report, render_report
from tests.helpers.catalogs import catalog, simulate_predictions
from tests.helpers.report_page import Page


def actualmed(split: str = "train") -> pd.DataFrame:
    """Returns 44 patients with one image each in the proportions of covid_actualmed.

    21 of 26 with COVID-19 are AP, 14 of 18 without are PA.
    """
    rows = catalog(88, 3, split).drop(columns="label:Mass").iloc[::2].reset_index(drop=True)
    views = ["AP"] * 21 + ["PA"] * 5 + ["AP"] * 4 + ["PA"] * 14
    return rows.assign(
        **{
            "view": pd.array(views, dtype="string"),
            "label:COVID-19": [1.0] * 26 + [0.0] * 18,
            "uri": [f"gs://bucket/images/{split}{number}.png" for number in range(44)],
            "sex": pd.array([None] * 44, dtype="string"),
            "age": float("nan"),
        }
    )


def test_find_confounders_color_that_goes_with_the_label_is_named() -> None:
    """Fails if all photographs of the sick and only radiographs of the healthy pass without a warning."""
    rows = actualmed().assign(view="AP", color=["yes"] * 20 + ["no"] * 24)
    found = find_confounders(rows, ["COVID-19"])
    assert [each["variable"] for each in found] == ["color"]
    (sentence,) = confounder_warnings(found)
    assert sentence.startswith(
        "Color is associated with COVID-19 in training: 20 of 26 images with the label have color yes"
    )


def by_variable(rows: pd.DataFrame, label: str = "Mass") -> dict[str, Confounder]:
    return {found["variable"]: found for found in find_confounders(rows, [label])}


def test_find_confounders_actualmed_counts_label_by_view_and_warns() -> None:
    found = find_confounders(actualmed(), ["COVID-19"])
    assert [(each["variable"], each["label"]) for each in found] == [("view", "COVID-19")]
    (view,) = found
    table = [[group[name] for name in ("group", "positives", "n_images", "n_patients")] for group in view["groups"]]  # type: ignore[literal-required]
    assert table == [["AP", 21, 25, 25], ["PA", 5, 19, 19]]
    statistic, p, *_ = chi2_contingency([[4, 21], [14, 5]], correction=False)
    assert (view["p"], view["cramers_v"]) == (pytest.approx(p), pytest.approx((statistic / 44) ** 0.5))
    assert view["cramers_v"] == pytest.approx(0.581, abs=1e-3)
    assert view["adjusted_p"] == view["p"]  # a single test
    assert view["warning"]
    (sentence,) = confounder_warnings(found)
    assert sentence == (
        "View is associated with COVID-19 in training: 21 of 26 images with the label have view AP, and 4 of 18 "
        "without (odds ratio 12.60, each patient counted once). The model may learn the view instead of the finding."
    )


def test_odds_ratio_of_actualmed_has_woolf_interval() -> None:
    """Literal: 21.5 * 14.5 / (5.5 * 4.5), and e to the power of 1.96 standard errors around it."""
    estimate = odds_ratio([4, 21], [14, 5])
    assert estimate["value"] == pytest.approx(12.60, abs=0.005)
    assert [estimate["low"], estimate["high"]] == pytest.approx([3.07, 51.73], abs=0.01)
    assert odds_ratio([14, 5], [4, 21])["value"] == pytest.approx(1 / 12.596, abs=1e-4)
    exact = fisher_exact([[21, 4], [5, 14]])
    assert estimate["low"] < exact.statistic < estimate["high"]  # type: ignore[operator]


COUNT = st.floats(0, 1e5)


@given(COUNT, COUNT, COUNT, COUNT)
def test_odds_ratio_contains_estimate_and_is_symmetric(a: float, b: float, c: float, d: float) -> None:
    """Fails if an empty cell gives an infinite bound, or if the result depends on which class is called positive."""
    estimate, swapped = odds_ratio([a, b], [c, d]), odds_ratio([b, a], [d, c])
    low, value, high = estimate["low"] or 0.0, estimate["value"] or 0.0, estimate["high"] or 0.0
    assert 0 < low < value < high < float("inf")
    assert [1 / high, 1 / value, 1 / low] == pytest.approx([swapped["low"], swapped["value"], swapped["high"]])


def test_find_confounders_independent_variables_give_no_warning() -> None:
    found = by_variable(catalog(600, 1, "train"))
    assert set(found) == {"view", "age", "sex", "source"}
    assert not any(each["warning"] for each in found.values())
    assert [group["group"] for group in found["age"]["groups"]][:2] == ["under 18", "18 to 39"]


def test_find_confounders_rarely_warn_by_chance() -> None:
    """Fails if p-values are not corrected for four variables: with 5% each, about 11 of 60 data sets would warn."""
    alarms = sum(
        any(each["adjusted_p"] < 0.05 for each in by_variable(catalog(200, seed, "train")).values())
        for seed in range(60)
    )
    assert alarms <= 6


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_find_confounders_perfect_folder_is_the_strongest(label: float) -> None:
    rows = catalog(200, 1, "train")
    rows["uri"] = [f"/data/{'one' if truth == label else 'two'}/{n}.png" for n, truth in enumerate(rows["label:Mass"])]
    first = find_confounders(rows, ["Mass"])[0]
    assert (first["variable"], first["cramers_v"], first["warning"]) == ("source", pytest.approx(1.0), True)
    (sentence,) = confounder_warnings([first])
    group = "one" if label else "two"
    positives = int(rows["label:Mass"].sum())
    assert sentence.startswith(
        f"Source folder is associated with Mass in training: {positives} of {positives} images with the label have "
        f"source folder {group}, and 0 of {200 - positives} without (odds ratio "
    )


def test_find_confounders_swapped_classes_are_equally_associated() -> None:
    rows = catalog(300, 4, "train")
    rows["view"] = rows["view"].mask(rows["label:Mass"] == 1.0, "AP")
    swapped = rows.assign(**{"label:Mass": 1 - rows["label:Mass"]})
    for one, other in zip(by_variable(rows).values(), by_variable(swapped).values(), strict=True):
        for name in ("cramers_v", "p", "adjusted_p", "warning"):
            assert one[name] == pytest.approx(other[name])  # type: ignore[literal-required]


def test_find_confounders_repeated_images_of_patients_are_no_evidence() -> None:
    """Fails if images count: fifty copies of each would make any difference significant."""
    rows = actualmed()
    fifty = pd.concat([rows] * 50, ignore_index=True)
    (once,), (often,) = (find_confounders(part, ["COVID-19"]) for part in (rows, fifty))
    assert often["p"] == pytest.approx(once["p"])
    assert often["groups"][0]["odds_ratio"] == pytest.approx(once["groups"][0]["odds_ratio"])
    assert (often["n_images"], often["n_patients"]) == (2200, 44)


def test_find_confounders_unknown_and_tiny_groups_are_left_out() -> None:
    rows = actualmed()
    rows["view"] = rows["view"].mask(rows.index.isin([0, 1]), None).mask(rows.index.isin([2, 3, 4]), "LL")
    rows["label:COVID-19"] = rows["label:COVID-19"].mask(rows.index == 43)
    (view,) = find_confounders(rows, ["COVID-19"])
    table = [(group["group"], group["positives"], group["n_images"]) for group in view["groups"]]
    assert table == [("AP", 16, 20), ("PA", 5, 18)]
    assert find_confounders(rows.iloc[21:35], ["COVID-19"]) == []  # four patients with the first view


def test_find_confounders_manufacturer_counts_if_the_catalog_has_it() -> None:
    rows = catalog(200, 1, "train")
    rows["manufacturer"] = pd.array(np.where(rows["label:Mass"] == 1, "Alpha", "Beta"), dtype="string")
    (sentence,) = confounder_warnings(find_confounders(rows, ["Mass"]))
    assert sentence.startswith("Manufacturer is associated with Mass in training: ")
    assert "images with the label have manufacturer Alpha, and 0 of " in sentence


def test_find_confounders_laterality_counts_if_the_catalog_has_it() -> None:
    """Fails if a model may learn the side of a hand in place of the fracture without a word."""
    rows = catalog(200, 1, "train")
    rows["laterality"] = pd.array(np.where(rows["label:Mass"] == 1, "L", "R"), dtype="string")
    (sentence,) = confounder_warnings(find_confounders(rows, ["Mass"]))
    assert sentence.startswith("Side of the body is associated with Mass in training: ")


def test_adjust_p_values_is_holm() -> None:
    """The example of statsmodels' multipletests(method='holm')."""
    assert adjust_p_values([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert adjust_p_values([0.9, 0.001]) == pytest.approx([0.9, 0.002])
    assert adjust_p_values([]) == []


def test_confounder_warnings_many_labels_give_one_sentence() -> None:
    rows = actualmed()
    names = [f"label {number}" for number in range(8)]
    rows = rows.assign(**{f"label:{name}": rows["label:COVID-19"] for name in names})
    (sentence,) = confounder_warnings(find_confounders(rows, names))
    assert sentence.endswith(
        "and 4 of 18 without (odds ratio 12.60, each patient counted once); also with label 1, label 2, label 3, "
        "label 4, label 5 and 2 more labels. The model may learn the view instead of the finding."
    )


def test_analyze_test_too_small_still_reports_confounders(full_report: Report) -> None:
    """Fails if the report is silent because no label is estimable: that is when a shortcut goes unnoticed."""
    parts = [actualmed("train"), actualmed("validation").iloc[::8], actualmed("test").iloc[::8]]
    rows = pd.concat(parts, ignore_index=True).rename(columns={"label:COVID-19": "label:Mass"})
    predictions = simulate_predictions(rows).predictions
    settings = Evaluate(publish_registry="registry", evaluate_bootstrap_samples=100)
    metrics = {
        split: evaluate_predictions(predictions[predictions["split"] == split], ["Mass"], {"Mass": 0.5}, 0, 0, 10)
        for split in ("validation", "test")
    }
    found = results.analyze(settings, rows, predictions, {"Mass": 0.5}, metrics)
    assert found["shortcuts"] == []
    (note,) = results.analysis_notes(found)  # type: ignore[arg-type]
    assert note.startswith("View is associated with Mass in training: 21 of 26 images with the label have view AP")
    page = Page(render_report(replace(full_report, sections=[confounder_section(found["confounders"])], notes=[note])))
    assert page.row("AP") == [["AP", "21 84%", "4", "25", "25", "12.60 3.07 to 51.73"]]
    assert page.row("PA") == [["PA", "5 26%", "14", "19", "19", "0.08 0.02 to 0.33"]]
    assert "View and Mass: possible confounder" in page.text
    assert note in page.text
    json.dumps(found["confounders"], allow_nan=False)


@pytest.mark.parametrize(("data_format", "expected"), [("folders", set()), ("table", {"source"})])
def test_rows_to_analyze_folders_that_are_classes_are_no_source(
    data_format: str, expected: set[str], tmp_path: Path
) -> None:
    """Fails if a data set of one folder per class always has the warning that the folder predicts the label."""
    rows = actualmed().assign(view=pd.array([None] * 44, dtype="string"))
    rows["uri"] = ["/data/" + ("ill" if truth else "well") + "/1.png" for truth in rows["label:COVID-19"]]
    (tmp_path / "settings.json").write_text(json.dumps({"data_format": data_format}))
    data = Shards(
        folder=tmp_path,
        rows=rows,
        targets=rows[["label:COVID-19"]].to_numpy("float32"),
        boxes=no_boxes(),
        labels=("COVID-19",),
        image_input=ImageInput(32),
        augmentation=Augmentation(),
        summary={"splits": {}, "excluded": []},
    )
    assert set(by_variable(results.rows_to_analyze(data), "COVID-19")) == expected


def test_report_without_confounders_says_so(full_report: Report) -> None:
    page = Page(render_report(replace(full_report, sections=[confounder_section([])])))
    assert "Nothing to compare, because no variable of the catalog has two groups of 5 or more training" in page.text


def test_find_confounders_real_covid_radiographs_view_is_associated(test_data: Path) -> None:
    """Counts are those of the table of covid_views_320."""
    table = pd.read_csv(test_data / "covid_views_320" / "metadata.csv")
    known = table[table["finding"] != "todo"]
    rows = pd.DataFrame(
        {
            "patient_id": known["patientid"].astype(str),
            "view": known["view"].astype("string"),
            "sex": known["sex"].astype("string"),
            "age": known["age"],
            "uri": "images/" + known["image_id"],
            "label:COVID-19": known["finding"].str.contains("COVID-19").astype(float),
        }
    )
    found: dict[str, Any] = by_variable(rows, "COVID-19")
    expected = pd.crosstab(known["view"], rows["label:COVID-19"])
    assert {group["group"]: (group["positives"], group["n_images"]) for group in found["view"]["groups"]} == {
        view: (int(counts[1.0]), int(counts.sum())) for view, counts in expected.iterrows()
    }
    assert found["view"]["adjusted_p"] < 0.01
    assert found["view"]["warning"]
    assert not found["sex"]["warning"]
    (sentence,) = confounder_warnings(list(found.values()))
    assert sentence.startswith(
        "View is associated with COVID-19 in training: 80 of 322 images with the label have view AP Supine, and 6 of "
        "85 without (odds ratio 5.60, each patient counted once). "
    )
