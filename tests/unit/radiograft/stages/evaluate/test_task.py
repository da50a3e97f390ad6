"""The evaluation as a stage: thresholds from validation alone, what it writes, and what it tells KFP."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference  # type: ignore[import-untyped]

from radiograft.data.catalog import no_boxes
from radiograft.data.shards.dataset import Shards
from radiograft.metrics.thresholds import choose_thresholds
from radiograft.models import artifact
from radiograft.registry.result_types import Trial
from radiograft.stages.evaluate import task
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from radiograft.training.search import results as search_results
from tests.helpers.stages import EVALUATE, Evaluated

LABELS = ("Pneumonia", "Effusion", "Emphysema")
STRATEGIES = ("feature_extraction", "fine_tuning")


def read(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    return json.loads((folder / "metrics.json").read_text()), pd.read_parquet(folder / "predictions.parquet")


@pytest.fixture(scope="module")
def facts(evaluation: Evaluated) -> dict[str, Any]:
    return read(evaluation.folder)[0]


@pytest.fixture(scope="module")
def predictions(evaluation: Evaluated) -> pd.DataFrame:
    return read(evaluation.folder)[1]


@pytest.fixture(scope="module")
def other_test_labels(evaluation: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """The evaluation of the same models where every test label says the opposite, no baseline was asked for, no
    boxes are drawn, and the cut-off was searched."""
    folder = tmp_path_factory.mktemp("other_test_labels")
    shards = Path(shutil.copytree(evaluation.inputs.shards, folder / "shards"))
    rows = pd.read_parquet(shards / "rows.parquet")
    for label in LABELS:
        rows[f"label:{label}"] = rows[f"label:{label}"].where(rows["split"] != "test", 1 - rows[f"label:{label}"])
    rows.to_parquet(shards / "rows.parquet", index=False)
    no_boxes().to_parquet(shards / "boxes.parquet", index=False)
    features = Path(shutil.copytree(evaluation.inputs.features, folder / "features"))
    (features / RANDOM_PREDICTIONS).unlink()
    model = Path(shutil.copytree(evaluation.inputs.model, folder / "model"))
    (tried,) = search_results.read_trials(model)
    metrics = tried["metrics"] | {"val_auroc": 0.25}
    other = Trial(**{**tried, "overrides": {"model_cut_off": "block7a_expand_conv"}, "metrics": metrics})  # type: ignore[misc]
    search_results.write_trials(model, [tried, other])
    inputs = evaluation.inputs._replace(shards=shards, features=features, model=model)
    outputs = (folder / "evaluation", folder / "report.html", folder / "logs")
    outcome = task.run(EVALUATE, inputs, "another-run", *outputs)
    return Evaluated(inputs, *outputs[:2], outcome, outputs[2])


def test_it_writes_predictions_figures_settings_and_one_report(evaluation: Evaluated) -> None:
    assert sorted(path.name for path in evaluation.folder.iterdir()) == [
        *("drift_reference.npz", "metrics.json", "predictions.parquet", "report.SHA256SUMS", "sample"),
        *("seen.parquet", "settings.json"),
    ]
    page = evaluation.report.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "a-run" in page
    assert all(label in page for label in LABELS)


def test_every_image_of_validation_and_test_is_predicted_by_both_models(
    evaluation: Evaluated, predictions: pd.DataFrame
) -> None:
    data = Shards.read(evaluation.inputs.shards)
    for strategy in STRATEGIES:
        for split, count in (("validation", 39), ("test", 31)):
            part = predictions[(predictions["strategy"] == strategy) & (predictions["split"] == split)]
            assert len(part) == count
            assert part["image_id"].tolist() == data.split(split)["image_id"].tolist()
            np.testing.assert_array_equal(part[[f"label:{label}" for label in LABELS]], data.truth(split))
    assert len(predictions) == 2 * (39 + 31)


def test_predictions_are_the_models_own(evaluation: Evaluated, predictions: pd.DataFrame) -> None:
    images = np.concatenate(list(Shards.read(evaluation.inputs.shards).images("test", 100)))
    models = {"feature_extraction": evaluation.inputs.feature_model, "fine_tuning": evaluation.inputs.model}
    for strategy, folder in models.items():
        part = predictions[(predictions["strategy"] == strategy) & (predictions["split"] == "test")]
        recorded = part[[f"score:{label}" for label in LABELS]]
        np.testing.assert_allclose(recorded, artifact.load_model(folder)(images), atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_figures_are_those_of_scikit_learn(facts: dict[str, Any], predictions: pd.DataFrame, strategy: str) -> None:
    part = predictions[(predictions["strategy"] == strategy) & (predictions["split"] == "test")]
    truth, scores = part["label:Pneumonia"], part["score:Pneumonia"]
    found = facts["metrics"][strategy]["test"]["labels"]["Pneumonia"]
    called = scores >= facts["thresholds"][strategy]["Pneumonia"]
    assert found["auroc"]["value"] == pytest.approx(reference.roc_auc_score(truth, scores))
    assert found["average_precision"]["value"] == pytest.approx(reference.average_precision_score(truth, scores))
    assert found["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, called))
    assert found["confusion"] == reference.confusion_matrix(truth, called).tolist()
    assert found["majority_accuracy"] == pytest.approx(22 / 31)
    assert (found["n_images"], found["n_patients"], found["positives"]) == (31, 15, 9)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_kept_epochs_are_told(facts: dict[str, Any], evaluation: Evaluated, strategy: str) -> None:
    history = json.loads((evaluation.inputs.models[strategy] / "history.json").read_text())
    assert facts["kept_epochs"][strategy] == history["best_epoch"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_thresholds_are_chosen_on_validation(facts: dict[str, Any], predictions: pd.DataFrame, strategy: str) -> None:
    part = predictions[(predictions["strategy"] == strategy) & (predictions["split"] == "validation")]
    assert facts["thresholds"][strategy] == pytest.approx(choose_thresholds(part, LABELS))
    assert list(facts["thresholds"][strategy]) == list(LABELS)


def test_no_test_label_changes_a_threshold_or_a_validation_figure(
    facts: dict[str, Any], other_test_labels: Evaluated
) -> None:
    others, _ = read(other_test_labels.folder)
    assert others["thresholds"] == facts["thresholds"]
    for strategy in STRATEGIES:
        assert others["metrics"][strategy]["validation"] == facts["metrics"][strategy]["validation"]
        test, other = (found["metrics"][strategy]["test"]["labels"]["Pneumonia"] for found in (facts, others))
        assert other["auroc"]["value"] == pytest.approx(1 - test["auroc"]["value"])


def test_a_label_without_cases_in_test_is_not_estimable(facts: dict[str, Any], evaluation: Evaluated) -> None:
    for strategy in STRATEGIES:
        test = facts["metrics"][strategy]["test"]
        assert test["labels"]["Emphysema"]["estimable"] is False
        assert test["labels"]["Emphysema"]["positives"] == 0
        assert test["labels"]["Emphysema"]["auroc"] == {"value": None, "low": None, "high": None}
        assert test["mean"]["labels"] == ["Pneumonia", "Effusion"]
        aurocs = [test["labels"][label]["auroc"]["value"] for label in ("Pneumonia", "Effusion")]
        assert test["mean"]["auroc"]["value"] == pytest.approx(np.mean(aurocs))
        assert facts["metrics"][strategy]["validation"]["labels"]["Emphysema"]["estimable"] is True
    page = evaluation.report.read_text(encoding="utf-8")
    sentence = "Not estimable, for want of patients with or without it in validation or test, and not in the mean: "
    assert f"{sentence}Emphysema." in page
    assert "not estimable on test (31 images), where all or no images are positive: Emphysema" in page


def test_the_published_model_is_analysed_where_labels_can_be_judged(
    facts: dict[str, Any], predictions: pd.DataFrame, evaluation: Evaluated
) -> None:
    part = predictions[(predictions["strategy"] == "fine_tuning") & (predictions["split"] == "test")]
    assert list(facts["calibration"]["labels"]) == ["Pneumonia", "Effusion"]
    brier = reference.brier_score_loss(part["label:Pneumonia"], part["score:Pneumonia"])
    assert facts["calibration"]["labels"]["Pneumonia"]["before"]["brier"] == pytest.approx(brier)
    assert facts["metrics"]["fine_tuning"]["test"]["labels"]["Pneumonia"]["brier"]["value"] == pytest.approx(brier)
    assert (facts["operating_point"], facts["judged_on"]) == ("youden", "test")
    rows = Shards.read(evaluation.inputs.shards).split("test")
    women = part.set_index("image_id").loc[rows["image_id"][rows["sex"] == "F"]]
    (found,) = [group for group in facts["subgroups"] if group["group"] == "F"]
    assert (found["n_images"], found["n_patients"]) == (len(women), women["patient_id"].nunique())
    auroc = reference.roc_auc_score(women["label:Pneumonia"], women["score:Pneumonia"])
    assert found["labels"]["Pneumonia"]["auroc"]["value"] == pytest.approx(auroc)
    assert {found["variable"] for found in facts["shortcuts"]} >= {"bytes", "view", "age", "sex"}
    page = evaluation.report.read_text(encoding="utf-8")
    for heading in ("Calibration", "Subgroup analysis", "Shortcut analysis"):
        assert f"<h2>{heading}</h2>" in page


def test_the_random_baseline_is_there_only_when_it_was_asked_for(
    facts: dict[str, Any], evaluation: Evaluated, other_test_labels: Evaluated
) -> None:
    baseline = facts["random_baseline"]
    assert (baseline["split"], baseline["n_images"], baseline["n_patients"]) == ("validation", 39, 15)
    pretrained = facts["metrics"]["feature_extraction"]["validation"]["mean"]["auroc"]
    assert baseline["pretrained"] == pretrained
    assert 0 <= baseline["random"]["value"] <= 1
    assert baseline["random"] != pretrained
    assert read(other_test_labels.folder)[0]["random_baseline"] is None
    pages = [stage.report.read_text(encoding="utf-8") for stage in (evaluation, other_test_labels)]
    assert ["random weights" in page.lower() for page in pages] == [True, False]


def test_the_cut_off_search_is_told_where_there_was_one(
    facts: dict[str, Any], evaluation: Evaluated, other_test_labels: Evaluated
) -> None:
    (alone,) = facts["cut_off_search"]
    both = read(other_test_labels.folder)[0]["cut_off_search"]
    assert [(row["overrides"]["model_cut_off"], row["metrics"]["val_auroc"]) for row in both] == [
        ("top_conv", alone["metrics"]["val_auroc"]),
        ("block7a_expand_conv", 0.25),
    ]
    pages = [stage.report.read_text(encoding="utf-8") for stage in (evaluation, other_test_labels)]
    assert ["Cut-off search" in page for page in pages] == [False, True]


def test_kfp_is_told_both_strategies_figures(facts: dict[str, Any], evaluation: Evaluated) -> None:
    scalars = evaluation.outcome.scalars
    assert set(scalars) == {
        "test_majority_accuracy",
        *("test_sensitivity_fine_tuning", "test_specificity_fine_tuning"),
        *("test_brier_fine_tuning", "test_calibration_error_fine_tuning"),
        "gate_promote",
        *(f"drift_{name}_p" for name in ("score", "embedding", "view", "age", "sex")),
        *(
            f"{split}_{measure}_{strategy}"
            for split in ("validation", "test")
            for measure in ("auroc", "average_precision", "accuracy")
            for strategy in STRATEGIES
        ),
    }
    mean = facts["metrics"]["fine_tuning"]["test"]["mean"]
    assert scalars["test_auroc_fine_tuning"] == mean["auroc"]["value"]
    assert scalars["test_brier_fine_tuning"] == mean["brier"]["value"]
    assert scalars["test_calibration_error_fine_tuning"] == facts["calibration"]["expected_error"]
    assert scalars["test_majority_accuracy"] == pytest.approx((22 + 27 + 31) / 3 / 31)


def test_the_test_split_is_compared_with_the_data_that_the_model_was_made_with(
    facts: dict[str, Any], evaluation: Evaluated
) -> None:
    tests = facts["drift"]["tests"]
    assert {name: (test["reference"]["pictures"], test["new"]["pictures"]) for name, test in tests.items()} == {
        **dict.fromkeys(("score", "embedding"), (39, 31)),
        **dict.fromkeys(("view", "age", "sex"), (58 + 39, 31)),
    }
    assert facts["drift"]["shifted"] == []
    assert evaluation.outcome.scalars["drift_view_p"] == tests["view"]["p"]
    page = evaluation.report.read_text(encoding="utf-8")
    assert "Data drift" in page
    assert "No shift was detected between the development data and the test data." in page
    assert "The test images differ" not in page


def test_kfp_is_shown_all_decisions_of_the_published_model(
    facts: dict[str, Any], predictions: pd.DataFrame, evaluation: Evaluated
) -> None:
    part = predictions[(predictions["strategy"] == "fine_tuning") & (predictions["split"] == "test")]
    confusion = np.zeros((2, 2), dtype=int)
    for label in LABELS:
        called = part[f"score:{label}"] >= facts["thresholds"]["fine_tuning"][label]
        confusion += reference.confusion_matrix(part[f"label:{label}"], called, labels=[0, 1])
    assert evaluation.outcome.confusion == confusion.tolist()
    assert confusion.sum() == 3 * 31
    assert evaluation.outcome.roc is not None
    fpr, tpr, thresholds = evaluation.outcome.roc
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert len(fpr) == len(tpr) == len(thresholds)
    assert np.isfinite(thresholds).all()


def test_lineage_names_data_and_every_stages_settings(facts: dict[str, Any], evaluation: Evaluated) -> None:
    data = Shards.read(evaluation.inputs.shards)
    assert facts["published"] == "fine_tuning"
    assert facts["lineage"]["fingerprint"] == data.summary["fingerprint"]
    assert facts["lineage"]["source"] == data.summary["source"]
    settings = facts["lineage"]["settings"]
    assert settings == json.loads((evaluation.folder / "settings.json").read_text())
    assert (settings["image_size"], settings["model_backbone"], settings["model_cut_off"]) == (
        *(32, "efficientnet_lite0", "top_conv"),
    )
    assert settings["evaluate_bootstrap_samples"] == 100


def test_heat_maps_are_shown_and_held_against_the_boxes_of_the_test_images(
    facts: dict[str, Any], evaluation: Evaluated
) -> None:
    data, localization = Shards.read(evaluation.inputs.shards), facts["localisation"]
    boxes = data.boxes[data.boxes["image_id"].isin(data.split("test")["image_id"])]
    counts = boxes["finding"].value_counts()
    assert localization["split"] == "test"
    assert {label: found["n_boxes"] for label, found in localization["labels"].items()} == {
        label: counts[label] for label in ("Pneumonia", "Effusion")
    }
    for found in localization["labels"].values():
        assert list(found["maps"]) == ["grad_cam", "layer_cam", "centre", "random"]
    page = evaluation.report.read_text(encoding="utf-8")
    assert all(heading in page for heading in ("Error analysis", "Explanations", "Localization accuracy"))
    assert "below it the boxes an image that overlap none by as much." in page
    assert "control: the middle" in page


def test_without_boxes_the_report_says_so(other_test_labels: Evaluated) -> None:
    assert read(other_test_labels.folder)[0]["localisation"] is None
    page = other_test_labels.report.read_text(encoding="utf-8")
    assert "where the network looks is not scored" in page
    assert "control: the middle" not in page
