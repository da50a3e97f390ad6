"""Subgroup metrics, their difference from the rest, and the assignment of images to groups."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from radiograft.config import Evaluate
from radiograft.evaluation import subgroups
from radiograft.evaluation.subgroups import EvaluatedSplit, evaluate_subgroups
from radiograft.metrics.class_decisions import ExclusiveClasses
from radiograft.metrics.multilabel import evaluate_predictions
from radiograft.registry.analysis_types import Subgroup
from tests.helpers.catalogs import catalog, simulate_predictions
from tests.helpers.samples import class_frame

SETTINGS = Evaluate(publish_registry="registry", evaluate_bootstrap_samples=200)


def by_name(groups: list[Subgroup]) -> dict[tuple[str, str], Subgroup]:
    """Returns the groups by variable and name."""
    return {(group["variable"], group["group"]): group for group in groups}


def test_subgroups_lists_all_groups_in_order() -> None:
    found = evaluate_subgroups(simulate_predictions(catalog(300)), SETTINGS)
    assert [(group["variable"], group["group"]) for group in found] == [
        *(("sex", "F"), ("sex", "M")),
        *(("age", "under 18"), ("age", "18 to 39"), ("age", "40 to 59"), ("age", "60 to 79"), ("age", "80 and over")),
        *(("view", "AP"), ("view", "PA")),
        *(("source", "images_001/images"), ("source", "images_002/images")),
    ]
    for variable in ("sex", "age", "view", "source"):
        assert sum(group["n_images"] for group in found if group["variable"] == variable) == 300
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_subgroups_metrics_equal_those_of_the_images_alone() -> None:
    evaluated = simulate_predictions(catalog(400))
    old = (evaluated.rows["age"] >= 60) & (evaluated.rows["age"] < 80)
    group = by_name(evaluate_subgroups(evaluated, SETTINGS))["age", "60 to 79"]
    alone, rest = (
        evaluate_predictions(evaluated.predictions[part], ["Mass"], evaluated.thresholds, 0, 0) for part in (old, ~old)
    )
    assert (group["n_images"], group["n_patients"]) == (int(old.sum()), int(old.sum()) // 2)
    for name in ("auroc", "ppv", "brier"):
        assert group["labels"]["Mass"][name]["value"] == pytest.approx(alone["labels"]["Mass"][name]["value"])
    for name, contrast in group["mean"].items():
        value, others = (part["mean"][name]["value"] for part in (alone, rest))  # type: ignore[literal-required]
        assert contrast["group"]["value"] == pytest.approx(value)
        assert contrast["difference"]["value"] == pytest.approx(value - others)


def test_subgroups_failing_group_has_negative_difference() -> None:
    rows = catalog(800)
    found = by_name(
        evaluate_subgroups(simulate_predictions(rows, gain=np.where(rows["view"] == "AP", 0.0, 3.0)), SETTINGS)
    )
    failing = found["view", "AP"]["mean"]["auroc"]
    assert failing["group"]["value"] == pytest.approx(0.5, abs=0.08)
    assert failing["difference"]["high"] < -0.3  # type: ignore[operator]
    for sex in "FM":
        fair = found["sex", sex]["mean"]["auroc"]["difference"]
        assert fair["low"] < 0 < fair["high"]  # type: ignore[operator]


def test_subgroups_two_groups_have_opposite_differences() -> None:
    found = by_name(evaluate_subgroups(simulate_predictions(catalog(300)), SETTINGS))
    for name in ("auroc", "sensitivity", "specificity"):
        women, men = (found["sex", sex]["mean"][name]["difference"] for sex in "FM")
        assert women["value"] == pytest.approx(-men["value"])  # type: ignore[operator]
        assert women["low"] == pytest.approx(-men["high"])  # type: ignore[operator]


def test_subgroups_too_few_patients_has_no_metrics() -> None:
    rows = catalog(300)
    rows["view"] = rows["view"].mask(rows.index < 8, "LL")
    group = by_name(evaluate_subgroups(simulate_predictions(rows), SETTINGS))["view", "LL"]
    assert (group["n_images"], group["n_patients"], group["compared"], group["mean"]) == (8, 4, [], {})
    assert group["labels"]["Mass"]["estimable"] is False


def test_subgroups_unknown_group_is_omitted() -> None:
    rows = catalog(300)
    rows["sex"] = rows["sex"].mask(rows.index < 100)
    found = by_name(evaluate_subgroups(simulate_predictions(rows), SETTINGS))
    assert found["sex", "F"]["n_images"] + found["sex", "M"]["n_images"] == 200


def test_subgroups_without_metadata_is_empty() -> None:
    rows = catalog(40).assign(view=None, sex=None, age=np.nan)
    rows["uri"] = [f"gs://bucket/mass.npz#test_images/{number}" for number in range(40)]
    assert evaluate_subgroups(simulate_predictions(rows), SETTINGS) == []


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
def test_source_folders_removes_shared_prefix(uris: list[str], expected: list[str]) -> None:
    assert subgroups.source_folders(pd.Series(uris)).tolist() == expected


def test_assign_groups_keeps_largest_sources() -> None:
    rows = catalog(66)
    rows["uri"] = [f"/data/{'big' if number < 20 else number}/image.png" for number in range(66)]
    source = subgroups.assign_groups(rows)["source"]
    assert source.nunique() == subgroups.MAX_GROUPS
    assert (source == "big").sum() == 20


def exclusive_split(images: int) -> EvaluatedSplit:
    """Returns predictions of three classes, of which women get the wrong one more often."""
    rows, generator = catalog(images), np.random.default_rng(4)
    truth = generator.choice(3, images, p=[0.5, 0.3, 0.2])
    gain = np.where(rows["sex"] == "F", 0.5, 2.5)
    logits = generator.normal(size=(images, 3)) + gain[:, None] * np.eye(3)[truth]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = ["nv", "mel", "bcc"]
    predictions = class_frame(names, truth, scores).assign(patient_id=rows["patient_id"])
    return EvaluatedSplit(predictions, rows, {}, names, ExclusiveClasses("nv"))


def test_subgroups_of_exclusive_classes_compare_accuracy_beside_baseline() -> None:
    evaluated = exclusive_split(600)
    groups = by_name(evaluate_subgroups(evaluated, SETTINGS))
    women = evaluated.rows["sex"] == "F"
    labels, scores = ([f"{kind}:{name}" for name in evaluated.labels] for kind in ("label", "score"))
    truth, predicted = (evaluated.predictions[part].to_numpy().argmax(axis=1) for part in (labels, scores))
    found = groups["sex", "F"]["classes"]
    of_women, of_men = ((truth == predicted)[part].mean() for part in (women, ~women))
    assert found["accuracy"]["group"]["value"] == pytest.approx(of_women)
    assert found["accuracy"]["difference"]["value"] == pytest.approx(of_women - of_men)
    assert (found["accuracy"]["difference"]["high"] or 0) < 0
    assert found["majority_accuracy"]["value"] == pytest.approx((truth == 0)[women].mean())
    assert groups["sex", "F"]["compared"] == evaluated.labels
    whole = evaluate_predictions(evaluated.predictions[women], evaluated.labels, {}, 0, 0, 1, evaluated.classes)
    assert groups["sex", "F"]["mean"]["auroc"]["group"]["value"] == pytest.approx(whole["mean"]["auroc"]["value"])
    assert found["accuracy"]["group"]["value"] == pytest.approx(whole["classes"]["accuracy"]["value"])


def test_subgroups_of_few_patients_have_no_accuracy() -> None:
    evaluated = exclusive_split(16)  # 8 patients
    assert all("classes" not in group for group in evaluate_subgroups(evaluated, SETTINGS))


def test_subgroups_of_independent_labels_have_no_classes() -> None:
    found = evaluate_subgroups(simulate_predictions(catalog(300)), SETTINGS)
    assert all("classes" not in group for group in found)
