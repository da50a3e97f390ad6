"""Each group's figures are those of its images alone; a group in which the model fails stands out."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from radiograft.config import Evaluate
from radiograft.evaluation import subgroups
from radiograft.evaluation.subgroups import by_subgroup
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.result_types import Subgroup
from tests.helpers.catalogs import catalog, judge

SETTINGS = Evaluate(publish_registry="registry", evaluate_bootstrap_samples=200)


def named(found: list[Subgroup]) -> dict[tuple[str, str], Subgroup]:
    return {(each["variable"], each["group"]): each for each in found}


def test_all_groups_of_all_variables_are_there_in_order() -> None:
    found = by_subgroup(judge(catalog(300)), SETTINGS)
    assert [(each["variable"], each["group"]) for each in found] == [
        *(("sex", "F"), ("sex", "M")),
        *(("age", "under 18"), ("age", "18 to 39"), ("age", "40 to 59"), ("age", "60 to 79"), ("age", "80 and over")),
        *(("view", "AP"), ("view", "PA")),
        *(("source", "images_001/images"), ("source", "images_002/images")),
    ]
    for variable in ("sex", "age", "view", "source"):
        assert sum(each["n_images"] for each in found if each["variable"] == variable) == 300
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_groups_figures_are_those_of_its_images_alone() -> None:
    judged = judge(catalog(400))
    old = (judged.rows["age"] >= 60) & (judged.rows["age"] < 80)
    group = named(by_subgroup(judged, SETTINGS))["age", "60 to 79"]
    alone, rest = (
        evaluate_predictions(judged.predictions[part], ["Mass"], judged.thresholds, 0, 0) for part in (old, ~old)
    )
    assert (group["n_images"], group["n_patients"]) == (int(old.sum()), int(old.sum()) // 2)
    for name in ("auroc", "ppv", "brier"):
        assert group["labels"]["Mass"][name]["value"] == pytest.approx(alone["labels"]["Mass"][name]["value"])
    for name, contrast in group["mean"].items():
        value, others = (part["mean"][name]["value"] for part in (alone, rest))  # type: ignore[literal-required]
        assert contrast["group"]["value"] == pytest.approx(value)
        assert contrast["difference"]["value"] == pytest.approx(value - others)


def test_a_group_in_which_the_model_fails_stands_out() -> None:
    rows = catalog(800)
    found = named(by_subgroup(judge(rows, gain=np.where(rows["view"] == "AP", 0.0, 3.0)), SETTINGS))
    failing = found["view", "AP"]["mean"]["auroc"]
    assert failing["group"]["value"] == pytest.approx(0.5, abs=0.08)
    assert failing["difference"]["high"] < -0.3  # type: ignore[operator]
    for sex in "FM":
        fair = found["sex", sex]["mean"]["auroc"]["difference"]
        assert fair["low"] < 0 < fair["high"]  # type: ignore[operator]


def test_two_groups_differ_by_opposite_amounts() -> None:
    found = named(by_subgroup(judge(catalog(300)), SETTINGS))
    for name in ("auroc", "sensitivity", "specificity"):
        women, men = (found["sex", sex]["mean"][name]["difference"] for sex in "FM")
        assert women["value"] == pytest.approx(-men["value"])  # type: ignore[operator]
        assert women["low"] == pytest.approx(-men["high"])  # type: ignore[operator]


def test_a_group_of_too_few_patients_is_listed_without_figures() -> None:
    rows = catalog(300)
    rows["view"] = rows["view"].mask(rows.index < 8, "LL")
    group = named(by_subgroup(judge(rows), SETTINGS))["view", "LL"]
    assert (group["n_images"], group["n_patients"], group["compared"], group["mean"]) == (8, 4, [], {})
    assert group["labels"]["Mass"]["estimable"] is False


def test_images_of_unknown_group_are_in_none() -> None:
    rows = catalog(300)
    rows["sex"] = rows["sex"].mask(rows.index < 100)
    found = named(by_subgroup(judge(rows), SETTINGS))
    assert found["sex", "F"]["n_images"] + found["sex", "M"]["n_images"] == 200


def test_data_that_know_nothing_of_their_images_have_no_groups() -> None:
    rows = catalog(40).assign(view=None, sex=None, age=np.nan)
    rows["uri"] = [f"gs://bucket/mass.npz#test_images/{number}" for number in range(40)]
    assert by_subgroup(judge(rows), SETTINGS) == []


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        (["gs://b/x/one/1.png", "gs://b/x/two/2.png"], ["one", "two"]),
        (
            ["/data/images_001/images/1.png", "/data/images_010/images/2.png"],
            ["images_001/images", "images_010/images"],
        ),
        (["/data/1.png", "/data/late/2.png"], [".", "late"]),
        (["/data/1.png", "/data/2.png"], [".", "."]),
    ],
)
def test_a_source_is_the_folder_without_what_all_share(uris: list[str], expected: list[str]) -> None:
    assert subgroups.source_folders(pd.Series(uris)).tolist() == expected


def test_of_many_sources_the_largest_count() -> None:
    rows = catalog(66)
    rows["uri"] = [f"/data/{'big' if number < 20 else number}/image.png" for number in range(66)]
    source = subgroups.group_rows(rows)["source"]
    assert source.nunique() == subgroups.MAX_GROUPS
    assert (source == "big").sum() == 20
