"""The evaluate stage: thresholds from validation only, its output files, and the metrics for KFP."""

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
from radiograft.metrics.label_metrics import choose_thresholds
from radiograft.models import artifact
from radiograft.registry.training_types import Trial
from radiograft.stages.evaluate import task
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from radiograft.training.search import results as search_results
from tests.helpers.stages import EVALUATE, Evaluated

LABELS = ("Pneumonia", "Effusion", "Emphysema")
STRATEGIES = ("feature_extraction", "fine_tuning")


def read(folder: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    """Returns the content of metrics.json and the predictions."""
    return json.loads((folder / "metrics.json").read_text()), pd.read_parquet(folder / "predictions.parquet")


@pytest.fixture(scope="module")
def results(evaluation: Evaluated) -> dict[str, Any]:
    return read(evaluation.folder)[0]


@pytest.fixture(scope="module")
def predictions(evaluation: Evaluated) -> pd.DataFrame:
    return read(evaluation.folder)[1]


@pytest.fixture(scope="module")
def other_test_labels(evaluation: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """An evaluation of the same models with inverted test labels, a cut-off search, no random baseline and no boxes."""
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
    (trial,) = search_results.read_trials(model)
    metrics = trial["metrics"] | {"val_auroc": 0.25}
    other = Trial(**{**trial, "overrides": {"model_cut_off": "block7a_expand_conv"}, "metrics": metrics})  # type: ignore[misc]
    search_results.write_trials(model, [trial, other])
    inputs = evaluation.inputs._replace(shards=shards, features=features, model=model)
    outputs = (folder / "evaluation", folder / "report.html", folder / "logs")
    outcome = task.run(EVALUATE, inputs, "another-run", *outputs)
    return Evaluated(inputs, *outputs[:2], outcome, outputs[2])


def test_evaluate_writes_all_files(evaluation: Evaluated) -> None:
    assert sorted(path.name for path in evaluation.folder.iterdir()) == [
        *("drift_reference.npz", "metrics.json", "predictions.parquet", "report.SHA256SUMS", "sample"),
        *("seen.parquet", "settings.json"),
    ]
    page = evaluation.report.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "a-run" in page
    assert all(label in page for label in LABELS)


def test_evaluate_predicts_all_held_out_images_with_both_models(
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


def test_evaluate_predictions_match_models(evaluation: Evaluated, predictions: pd.DataFrame) -> None:
    images = np.concatenate(list(Shards.read(evaluation.inputs.shards).images("test", 100)))
    models = {"feature_extraction": evaluation.inputs.feature_model, "fine_tuning": evaluation.inputs.model}
    for strategy, folder in models.items():
        part = predictions[(predictions["strategy"] == strategy) & (predictions["split"] == "test")]
        recorded = part[[f"score:{label}" for label in LABELS]]
        np.testing.assert_allclose(recorded, artifact.load_model(folder)(images), atol=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluate_metrics_match_scikit_learn(results: dict[str, Any], predictions: pd.DataFrame, strategy: str) -> None:
    part = predictions[(predictions["strategy"] == strategy) & (predictions["split"] == "test")]
    truth, scores = part["label:Pneumonia"], part["score:Pneumonia"]
    pneumonia = results["metrics"][strategy]["test"]["labels"]["Pneumonia"]
    positive = scores >= results["thresholds"][strategy]["Pneumonia"]
    assert pneumonia["auroc"]["value"] == pytest.approx(reference.roc_auc_score(truth, scores))
    assert pneumonia["average_precision"]["value"] == pytest.approx(reference.average_precision_score(truth, scores))
    assert pneumonia["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, positive))
    assert pneumonia["confusion"] == reference.confusion_matrix(truth, positive).tolist()
    assert pneumonia["majority_accuracy"] == pytest.approx(22 / 31)
    assert (pneumonia["n_images"], pneumonia["n_patients"], pneumonia["positives"]) == (31, 15, 9)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluate_records_kept_epochs(results: dict[str, Any], evaluation: Evaluated, strategy: str) -> None:
    history = json.loads((evaluation.inputs.models[strategy] / "history.json").read_text())
    assert results["kept_epochs"][strategy] == history["best_epoch"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_evaluate_thresholds_are_chosen_on_validation(
    results: dict[str, Any], predictions: pd.DataFrame, strategy: str
) -> None:
    part = predictions[(predictions["strategy"] == strategy) & (predictions["split"] == "validation")]
    assert results["thresholds"][strategy] == pytest.approx(choose_thresholds(part, LABELS))
    assert list(results["thresholds"][strategy]) == list(LABELS)


def test_evaluate_test_labels_do_not_affect_validation(results: dict[str, Any], other_test_labels: Evaluated) -> None:
    others, _ = read(other_test_labels.folder)
    assert others["thresholds"] == results["thresholds"]
    for strategy in STRATEGIES:
        assert others["metrics"][strategy]["validation"] == results["metrics"][strategy]["validation"]
        test, other = (each["metrics"][strategy]["test"]["labels"]["Pneumonia"] for each in (results, others))
        assert other["auroc"]["value"] == pytest.approx(1 - test["auroc"]["value"])


def test_evaluate_label_without_positives_is_not_estimable(results: dict[str, Any], evaluation: Evaluated) -> None:
    for strategy in STRATEGIES:
        test = results["metrics"][strategy]["test"]
        assert test["labels"]["Emphysema"]["estimable"] is False
        assert test["labels"]["Emphysema"]["positives"] == 0
        assert test["labels"]["Emphysema"]["auroc"] == {"value": None, "low": None, "high": None}
        assert test["mean"]["labels"] == ["Pneumonia", "Effusion"]
        aurocs = [test["labels"][label]["auroc"]["value"] for label in ("Pneumonia", "Effusion")]
        assert test["mean"]["auroc"]["value"] == pytest.approx(np.mean(aurocs))
        assert results["metrics"][strategy]["validation"]["labels"]["Emphysema"]["estimable"] is True
    page = evaluation.report.read_text(encoding="utf-8")
    sentence = (
        "Not estimable and excluded from the mean, because validation or test has too few patients with or without the "
        "label: Emphysema."
    )
    assert sentence in page
    assert "Not estimable on test (31 images), where all or no images are positive: Emphysema." in page


def test_evaluate_analyzes_published_model_on_test(
    results: dict[str, Any], predictions: pd.DataFrame, evaluation: Evaluated
) -> None:
    part = predictions[(predictions["strategy"] == "fine_tuning") & (predictions["split"] == "test")]
    assert list(results["calibration"]["labels"]) == ["Pneumonia", "Effusion"]
    brier = reference.brier_score_loss(part["label:Pneumonia"], part["score:Pneumonia"])
    assert results["calibration"]["labels"]["Pneumonia"]["before"]["brier"] == pytest.approx(brier)
    assert results["metrics"]["fine_tuning"]["test"]["labels"]["Pneumonia"]["brier"]["value"] == pytest.approx(brier)
    assert (results["operating_point"], results["judged_on"]) == ("youden", "test")
    rows = Shards.read(evaluation.inputs.shards).split("test")
    women = part.set_index("image_id").loc[rows["image_id"][rows["sex"] == "F"]]
    (found,) = [group for group in results["subgroups"] if group["group"] == "F"]
    assert (found["n_images"], found["n_patients"]) == (len(women), women["patient_id"].nunique())
    auroc = reference.roc_auc_score(women["label:Pneumonia"], women["score:Pneumonia"])
    assert found["labels"]["Pneumonia"]["auroc"]["value"] == pytest.approx(auroc)
    assert {found["variable"] for found in results["shortcuts"]} >= {"bytes", "view", "age", "sex"}
    page = evaluation.report.read_text(encoding="utf-8")
    for heading in ("Calibration", "Subgroup analysis", "Shortcut analysis"):
        assert f">{heading}</h2>" in page


def test_evaluate_random_baseline_only_if_requested(
    results: dict[str, Any], evaluation: Evaluated, other_test_labels: Evaluated
) -> None:
    baseline = results["random_baseline"]
    assert (baseline["split"], baseline["n_images"], baseline["n_patients"]) == ("validation", 39, 15)
    pretrained = results["metrics"]["feature_extraction"]["validation"]["mean"]["auroc"]
    assert baseline["pretrained"] == pretrained
    assert 0 <= baseline["random"]["value"] <= 1
    assert baseline["random"] != pretrained
    assert read(other_test_labels.folder)[0]["random_baseline"] is None
    pages = [stage.report.read_text(encoding="utf-8") for stage in (evaluation, other_test_labels)]
    assert ["random weights" in page.lower() for page in pages] == [True, False]


def test_evaluate_cut_off_search_is_reported(
    results: dict[str, Any], evaluation: Evaluated, other_test_labels: Evaluated
) -> None:
    (alone,) = results["cut_off_search"]
    both = read(other_test_labels.folder)[0]["cut_off_search"]
    assert [(row["overrides"]["model_cut_off"], row["metrics"]["val_auroc"]) for row in both] == [
        ("top_conv", alone["metrics"]["val_auroc"]),
        ("block7a_expand_conv", 0.25),
    ]
    pages = [stage.report.read_text(encoding="utf-8") for stage in (evaluation, other_test_labels)]
    assert ["Cut-off search" in page for page in pages] == [False, True]


KFP_METRICS = (  # in the order of KFP's page
    *("accuracy_test", "auroc_test", "auroc_test_high", "auroc_test_low", "gate_promoted", "majority_test"),
    *("x_auroc_features", "x_auroc_validation", "x_avg_precision", "x_brier", "x_calibration_error"),
    *("x_drift_age_p", "x_drift_embedding_p", "x_drift_score_p", "x_drift_sex_p", "x_drift_view_p"),
    *("x_sensitivity", "x_specificity"),
)


def test_kfp_metrics_names_are_short_and_deciding_ones_sort_first(evaluation: Evaluated) -> None:
    assert tuple(sorted(evaluation.outcome.scalars)) == KFP_METRICS
    with_others = sorted([*KFP_METRICS, "version", "x_auroc_difference"])  # of publish, and of a gate with a champion
    assert with_others[:7] == [*KFP_METRICS[:6], "version"]
    assert len(with_others) == 20
    assert max(map(len, with_others)) == 19


def test_kfp_metrics_hold_values_of_metrics_json(results: dict[str, Any], evaluation: Evaluated) -> None:
    scalars = evaluation.outcome.scalars
    tuned, extracted = (results["metrics"][strategy] for strategy in ("fine_tuning", "feature_extraction"))
    auroc = tuned["test"]["mean"]["auroc"]
    limits = {"": auroc["value"], "_low": auroc["low"], "_high": auroc["high"]}
    assert {end: scalars[f"auroc_test{end}"] for end in limits} == limits
    assert scalars["accuracy_test"] == tuned["test"]["mean"]["accuracy"]["value"]
    assert scalars["majority_test"] == pytest.approx((22 + 27 + 31) / 3 / 31)
    assert scalars["gate_promoted"] == float(results["gate"]["promote"])
    assert scalars["x_auroc_features"] == extracted["test"]["mean"]["auroc"]["value"]
    assert scalars["x_auroc_validation"] == tuned["validation"]["mean"]["auroc"]["value"]
    assert scalars["x_avg_precision"] == tuned["test"]["mean"]["average_precision"]["value"]
    assert scalars["x_brier"] == tuned["test"]["mean"]["brier"]["value"]
    assert scalars["x_calibration_error"] == results["calibration"]["expected_error"]
    assert scalars["x_sensitivity"] == tuned["test"]["mean"]["sensitivity"]["value"]
    assert scalars["x_specificity"] == tuned["test"]["mean"]["specificity"]["value"]


def test_evaluate_drift_compares_test_with_development_data(results: dict[str, Any], evaluation: Evaluated) -> None:
    tests = results["drift"]["tests"]
    assert {name: (test["reference"]["pictures"], test["new"]["pictures"]) for name, test in tests.items()} == {
        **dict.fromkeys(("score", "embedding"), (39, 31)),
        **dict.fromkeys(("view", "age", "sex"), (58 + 39, 31)),
    }
    assert results["drift"]["shifted"] == []
    assert evaluation.outcome.scalars["x_drift_view_p"] == tests["view"]["p"]
    page = evaluation.report.read_text(encoding="utf-8")
    assert "Data drift" in page
    assert "No shift was detected between the development data and the test data." in page
    assert "The test images differ" not in page


def test_kfp_metrics_pool_labels(results: dict[str, Any], predictions: pd.DataFrame, evaluation: Evaluated) -> None:
    """Fails if the ROC curve holds a label that is called not estimable, such as Emphysema without positives."""
    part = predictions[(predictions["strategy"] == "fine_tuning") & (predictions["split"] == "test")]
    confusion = np.zeros((2, 2), dtype=int)
    for label in LABELS:
        called = part[f"score:{label}"] >= results["thresholds"]["fine_tuning"][label]
        confusion += reference.confusion_matrix(part[f"label:{label}"], called, labels=[0, 1])
    assert evaluation.outcome.confusion == confusion.tolist()
    assert confusion.sum() == 3 * 31
    assert evaluation.outcome.roc is not None
    fpr, tpr, thresholds = evaluation.outcome.roc
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert len(fpr) == len(tpr) == len(thresholds)
    assert np.isfinite(thresholds).all()
    estimable = results["metrics"]["fine_tuning"]["test"]["mean"]["labels"]
    assert "Emphysema" not in estimable
    truth = part[[f"label:{label}" for label in estimable]].to_numpy().ravel()
    scores = part[[f"score:{label}" for label in estimable]].to_numpy().ravel()
    assert reference.auc(fpr, tpr) == pytest.approx(reference.roc_auc_score(truth, scores))


def test_evaluate_lineage_holds_data_and_all_settings(results: dict[str, Any], evaluation: Evaluated) -> None:
    data = Shards.read(evaluation.inputs.shards)
    assert results["published"] == "fine_tuning"
    assert results["lineage"]["fingerprint"] == data.summary["fingerprint"]
    assert results["lineage"]["source"] == data.summary["source"]
    settings = results["lineage"]["settings"]
    assert settings == json.loads((evaluation.folder / "settings.json").read_text())
    assert (settings["image_size"], settings["model_backbone"], settings["model_cut_off"]) == (
        *(32, "efficientnet_lite0", "top_conv"),
    )
    assert settings["evaluate_bootstrap_samples"] == 100


def test_evaluate_scores_heat_maps_against_test_boxes(results: dict[str, Any], evaluation: Evaluated) -> None:
    data, localization = Shards.read(evaluation.inputs.shards), results["localisation"]
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
    assert "false positives per image: predicted boxes that overlap no annotated box by that ratio." in page
    assert "Control: image center" in page


def test_evaluate_without_boxes_report_says_so(other_test_labels: Evaluated) -> None:
    assert read(other_test_labels.folder)[0]["localisation"] is None
    page = other_test_labels.report.read_text(encoding="utf-8")
    assert "Not evaluated, because neither test nor validation images have annotated boxes." in page
    assert "Control: image center" not in page
