"""The evaluate stage on exclusive classes: a small softmax model from drawn images to metrics, report and logs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn import metrics as reference  # type: ignore[import-untyped]
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.browser import audit_accessibility, needs_chromium, open_page
from tests.helpers.images import encode, noise
from tests.helpers.minimal_run import replace_backbone
from tests.helpers.nih_source import put
from tests.helpers.report_page import Page
from tests.helpers.stages import Evaluated, run_extract_features, run_fine_tune
from tests.helpers.tensorboard_events import scalars

# Images of a split. The labels of HAM10000, so that the page is as long as that of real data.
COUNTS = {"akiec": 3, "bcc": 4, "bkl": 5, "df": 2, "mel": 6, "nv": 9, "vasc": 2}
NAMES = tuple(COUNTS)


def drawn_classes(place: str) -> Ingest:
    """Squares in one of seven places on noise, a folder for each place."""
    files = {}
    for part, split in enumerate(("train", "val", "test")):
        for corner, (name, count) in enumerate(COUNTS.items()):
            for number in range(count):
                pixels = noise(40, 1000 * part + 100 * corner + number) // 4
                row, column = divmod(corner, 3)
                pixels[13 * row : 13 * row + 13, 13 * column : 13 * column + 13] = 250
                files[f"{split}/{name}/{number}.png"] = encode(pixels)
    return Ingest(data_format="folders", data_source=put(files, place), data_labels=",".join(NAMES))


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("exclusive")
    catalog, shards = folder / "catalog", folder / "shards"
    ingest.run(drawn_classes(str(folder / "data")), catalog)
    preprocess.run(Preprocess(image_size=32), catalog, shards)
    extract = ExtractFeatures(
        model_backbone="efficientnet_lite0",
        model_weights="none",
        model_cut_off="top_conv",
        model_dense_units=8,
        train_feature_epochs=2,
        model_random_baseline=True,
    )
    tune = FineTune(model_cut_off="top_conv", train_fine_tune_epochs=1)
    with pytest.MonkeyPatch.context() as patch:
        replace_backbone(patch)
        extracted = run_extract_features(extract, shards, folder / "extracted")
        tuned = run_fine_tune(tune, shards, extracted.model, folder / "tuned")
        inputs = evaluate.EvaluateInputs(shards, extracted.features, extracted.model, tuned.model)
        settings = Evaluate(
            publish_registry="/no/registry/yet",
            evaluate_bootstrap_samples=100,
            evaluate_min_patients=1,
            evaluate_ordered_classes=True,
        )
        outputs = (folder / "evaluation", folder / "report.html", folder / "logs")
        outcome = evaluate.run(settings, inputs, "a-run", *outputs)
    return Evaluated(inputs, *outputs[:2], outcome, outputs[2])


@pytest.fixture(scope="module")
def results(evaluated: Evaluated) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((evaluated.folder / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def on_test(evaluated: Evaluated) -> tuple[np.ndarray, np.ndarray]:
    """Class indices and scores of the published model on test."""
    table = pd.read_parquet(evaluated.folder / "predictions.parquet")
    part = table[(table["strategy"] == "fine_tuning") & (table["split"] == "test")]
    truth, scores = (part[[f"{kind}:{name}" for name in NAMES]].to_numpy() for kind in ("label", "score"))
    return truth.argmax(axis=1), scores


def test_evaluate_classes_match_scikit_learn(results: dict[str, Any], on_test: tuple[np.ndarray, np.ndarray]) -> None:
    truth, scores = on_test
    predicted = scores.argmax(axis=1)
    test = results["metrics"]["fine_tuning"]["test"]
    found = test["classes"]
    assert (found["names"], found["n_images"], found["n_patients"]) == (list(NAMES), 31, 31)
    assert (found["majority_class"], found["majority_accuracy"]["value"]) == ("nv", pytest.approx(9 / 31))
    assert found["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, predicted))
    assert found["balanced_accuracy"]["value"] == pytest.approx(reference.balanced_accuracy_score(truth, predicted))
    assert found["confusion"] == reference.confusion_matrix(truth, predicted).tolist()
    distribution = scores.astype("float64") / scores.sum(axis=1, keepdims=True, dtype="float64")
    assert found["log_loss"]["value"] == pytest.approx(reference.log_loss(truth, distribution), rel=1e-5)
    assert found["kappa"] is not None
    auroc = reference.roc_auc_score(truth, distribution, multi_class="ovr")
    assert test["mean"]["auroc"]["value"] == pytest.approx(auroc)
    assert all(found["accuracy"][bound] is not None for bound in ("low", "high"))


def test_evaluate_classes_have_no_thresholds(results: dict[str, Any]) -> None:
    assert results["thresholds"] == {"feature_extraction": {}, "fine_tuning": {}}
    for splits in results["metrics"].values():
        for split in splits.values():
            assert split["mean"]["labels"] == list(NAMES)
            assert [label["threshold"] for label in split["labels"].values()] == [None] * 7
    assert results["schema_version"] == 2


def test_evaluate_classes_are_calibrated_together(results: dict[str, Any]) -> None:
    calibration = results["calibration"]
    assert calibration["classes"]["n_images"] == 31
    assert {label["temperature"] for label in calibration["labels"].values()} == {calibration["classes"]["temperature"]}
    log_loss = results["metrics"]["fine_tuning"]["test"]["classes"]["log_loss"]["value"]
    assert calibration["classes"]["before"]["log_loss"] == pytest.approx(log_loss)


def test_evaluate_classes_gate_checks_every_class(results: dict[str, Any]) -> None:
    assert set(results["gate"]["labels"]) == set(NAMES)
    assert results["gate"]["mean"] is not None


def test_kfp_metrics_of_classes_hold_accuracy_beside_baseline(results: dict[str, Any], evaluated: Evaluated) -> None:
    found, classes = evaluated.outcome.scalars, results["metrics"]["fine_tuning"]["test"]["classes"]
    assert found["accuracy_test"] == classes["accuracy"]["value"]
    assert found["majority_test"] == pytest.approx(9 / 31)
    assert found["balanced_test"] == classes["balanced_accuracy"]["value"]
    assert found["auroc_test"] == results["metrics"]["fine_tuning"]["test"]["mean"]["auroc"]["value"]
    assert found["x_brier"] == classes["brier"]["value"]
    assert found["x_kappa"] == classes["kappa"]["value"]
    assert not {"x_sensitivity", "x_specificity"} & set(found)
    assert len({*found, "version", "x_auroc_difference"}) <= 20
    assert max(map(len, found)) <= 20


def test_kfp_metrics_of_classes_log_their_confusion_matrix(results: dict[str, Any], evaluated: Evaluated) -> None:
    from kfp import dsl

    metrics, curves = dsl.Metrics(), dsl.ClassificationMetrics()
    evaluated.outcome.log_to(metrics, curves)
    logged = curves.metadata["confusionMatrix"]
    assert [spec["displayName"] for spec in logged["annotationSpecs"]] == list(NAMES)
    confusion = results["metrics"]["fine_tuning"]["test"]["classes"]["confusion"]
    assert [row["row"] for row in logged["rows"]] == confusion


def test_tensorboard_scalars_of_classes(results: dict[str, Any], evaluated: Evaluated) -> None:
    logged = scalars(evaluated.logs / "evaluation" / "fine_tuning", ("test/",))
    classes = results["metrics"]["fine_tuning"]["test"]["classes"]
    for name in ("accuracy", "majority_accuracy", "balanced_accuracy", "kappa", "log_loss"):
        assert logged[f"test/{name}"] == pytest.approx([classes[name]["value"]], rel=1e-5)


def test_tensorboard_shows_confusion_matrix(evaluated: Evaluated) -> None:
    events = EventAccumulator(str(evaluated.logs / "evaluation" / "fine_tuning"), size_guidance={"tensors": 0})
    events.Reload()
    (event,) = events.Tensors("confusion matrix")
    width, height, png = tf.make_ndarray(event.tensor_proto)
    assert tf.io.decode_png(png).shape == (int(height), int(width), 3)
    names = [tag for tag in events.Tags()["tensors"] if tag.startswith("worst calls/")]
    assert names
    assert all("/predicted as " in name and ".png" not in name for name in names)


def test_random_baseline_of_classes_is_on_validation(results: dict[str, Any]) -> None:
    baseline = results["random_baseline"]
    assert (baseline["split"], baseline["n_images"]) == ("validation", 31)
    assert baseline["pretrained"] == results["metrics"]["feature_extraction"]["validation"]["mean"]["auroc"]
    assert 0 <= baseline["random"]["value"] <= 1


def test_report_of_classes_shows_metrics_beside_baselines(results: dict[str, Any], evaluated: Evaluated) -> None:
    page = Page(evaluated.report.read_text(encoding="utf-8"))
    classes = results["metrics"]["fine_tuning"]["test"]["classes"]

    def shown(estimate: dict[str, Any]) -> str:
        dagger = " †" if "method" in estimate else ""
        return f"{estimate['value']:.3f} {estimate['low']:.3f} to {estimate['high']:.3f}{dagger}"

    baseline = f"{shown(classes['majority_accuracy'])} always nv, the most frequent class in training"
    assert page.row("Accuracy") == [["Accuracy", shown(classes["accuracy"]), baseline]]
    assert page.row("Balanced accuracy")[0][2] == "0.143 always one class"
    assert len(page.row("Quadratic-weighted kappa")) == 1
    assert "31 test images of known class from 31 patients" in page.text
    cells = [
        f"{count} {shown(share)}" for count, share in zip(classes["confusion"][0], classes["shares"][0], strict=True)
    ]
    assert ["akiec", *cells, "3"] in page.row("akiec")
    descriptions = [str(attributes["alt"]) for attributes in page.images()]
    assert any(text.startswith("Confusion matrix of 7 classes") for text in descriptions)
    assert any(text.startswith("Reliability diagram of the highest score") for text in descriptions)
    assert "Threshold" not in page.text.split("Settings")[0]


def test_report_of_classes_shows_most_frequent_errors(
    evaluated: Evaluated, on_test: tuple[np.ndarray, np.ndarray]
) -> None:
    truth, scores = on_test
    wrong = [
        (one, other) for one, other in zip(truth.tolist(), scores.argmax(axis=1).tolist(), strict=True) if one != other
    ]
    ((one, other), count), *_ = Counter(sorted(wrong)).most_common()
    page = Page(evaluated.report.read_text(encoding="utf-8"))
    assert f"{NAMES[one]} predicted as {NAMES[other]}" in page.text
    assert [NAMES[one], NAMES[other], f"{count} of {COUNTS[NAMES[one]]}", str(count)] in page.row(NAMES[one])


@needs_chromium
def test_report_of_classes_is_accessible(tmp_path: Path, evaluated: Evaluated) -> None:
    page = evaluated.report.read_text(encoding="utf-8")
    assert audit_accessibility(page, "light", tmp_path) == []
    seen = open_page(page, 1280, tmp_path)
    assert (seen.width, seen.broken_images, seen.console, seen.uncaptioned) == (1280, 0, [], 0)
    assert seen.height <= 8000
