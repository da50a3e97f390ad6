"""`data_task=regression` from a table to a published version: the size of a disk is learned in its own unit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from click.testing import CliRunner

from radiograft.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish
from radiograft.data.shards.dataset import Shards
from radiograft.drift.monitor import compare_with_version
from radiograft.evaluation import champion
from radiograft.models import artifact
from radiograft.models.spec import ModelSpec
from radiograft.reporting.data_report import write_data_report
from radiograft.serving.loaded_version import LoadedVersion, load_version
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from radiograft.training import devices
from radiograft_pipelines.cli.main import main
from tests.helpers import minimal_run
from tests.helpers.images import encode
from tests.helpers.minimal_run import replace_backbone
from tests.helpers.numbers import disk_image, disk_studies, write_disks
from tests.helpers.stages import Trained, run_extract_features, run_fine_tune
from tests.helpers.tensorboard_events import scalars

TARGETS = ("diameter", "area")
FEATURES = ExtractFeatures(
    model_backbone="efficientnet_lite0", model_weights="none", model_cut_off="top_conv", model_dense_units=16,
    model_dropout=0.0, train_batch_size=8, train_feature_epochs=60, train_patience=60,
    train_feature_learning_rate=0.02, model_feature_reduction="pca,pls", model_random_baseline=True,
)  # fmt: skip
FINE_TUNE = FineTune(
    model_cut_off="stem_conv,top_conv", train_batch_size=8, train_fine_tune_epochs=8,
    train_fine_tune_learning_rate=3e-3,
)  # fmt: skip


class Published(NamedTuple):
    """Folders of a run, and the content of its metrics.json."""

    folder: Path
    features: Trained
    tuned: Trained
    outcome: evaluate.KfpMetrics
    results: dict[str, Any]
    report: str

    @property
    def uri(self) -> str:
        return f"{self.folder}/registry/disks/1"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("regression")
    settings = Ingest(
        data_format="table", data_source=str(write_disks(folder / "images")), data_labels=",".join(TARGETS),
        data_task="regression", data_validation_fraction=0.25, data_test_fraction=0.25,
    )  # fmt: skip
    evaluation = Evaluate(
        publish_registry=str(folder / "registry"), publish_model_name="disks", evaluate_bootstrap_samples=100,
        evaluate_min_patients=3,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        replace_backbone(patch)
        ingest.run(settings, folder / "catalog")
        preprocessing = Preprocess(image_size=64, image_augmentation="none")
        preprocess.run(preprocessing, folder / "catalog", folder / "shards")
        features = run_extract_features(FEATURES, folder / "shards", folder / "features")
        tuned = run_fine_tune(FINE_TUNE, folder / "shards", features.model, folder / "tuned")
        inputs = evaluate.EvaluateInputs(folder / "shards", features.features, features.model, tuned.model)
        report = folder / "report.html"
        outcome = evaluate.run(evaluation, inputs, "run", folder / "evaluation", report, folder / "logs")
        publishing = Publish(publish_registry=str(folder / "registry"), publish_model_name="disks")
        sources = publish.PublishInputs(tuned.model, folder / "evaluation", report)
        publish.run(publishing, sources, "run", folder / "version.json")
        results = json.loads((folder / "evaluation" / "metrics.json").read_text())
        yield Published(folder, features, tuned, outcome, results, report.read_text())


@pytest.fixture(scope="module")
def version(published: Published) -> LoadedVersion:
    return load_version(published.uri)


def test_published_model_predicts_disks_better_than_the_median(published: Published) -> None:
    test = published.results["metrics"]["fine_tuning"]["test"]["regression"]
    assert test["estimable"] == list(TARGETS)
    assert test["r2"]["low"] > 0.5
    for target in TARGETS:
        metrics = test["targets"][target]
        assert metrics["mae_difference"]["high"] < 0
        assert metrics["mae"]["value"] < metrics["rmse"]["value"]
        assert metrics["limit_low"]["value"] < metrics["mean_error"]["value"] < metrics["limit_high"]["value"]
    assert test["targets"]["area"]["n_images"] < test["targets"]["diameter"]["n_images"]
    assert published.results["gate"]["promote"]
    assert json.loads((published.folder / "version.json").read_text())["standing"] == "production"


def test_saved_model_returns_the_unit_of_the_data(published: Published) -> None:
    """Fails if the served values are standardized, or the contract lacks the scales."""
    spec = ModelSpec.read(published.tuned.model)
    truth = Shards.read(published.folder / "shards").split_targets("train")
    np.testing.assert_allclose([scale.mean for scale in spec.scales], np.nanmean(truth, axis=0), rtol=1e-6)
    np.testing.assert_allclose([scale.deviation for scale in spec.scales], np.nanstd(truth, axis=0), rtol=1e-5)
    assert list(spec.outputs) == ["values"]
    served = tf.saved_model.load(published.uri).signatures["serving_default"]
    files = tf.constant([encode(disk_image(size, 500)) for size in (7.0, 17.0)])
    small, large = served(image_bytes=files)["values"].numpy()
    assert abs(small[0] - 7) < 3 < abs(large[0] - small[0])
    assert abs(large[1] - np.pi * 17**2 / 4) < 80


def test_published_version_verifies_and_predicts_values(version: LoadedVersion, tmp_path: Path) -> None:
    (tmp_path / "disk.png").write_bytes(encode(disk_image(12.0, 501)))
    table = version.predict([tmp_path / "disk.png"])
    assert list(table.columns) == ["file", "label", "value", "note"]
    assert table["label"].tolist() == list(TARGETS)
    assert abs(table["value"][0] - 12) < 3
    spread = max(scale.deviation for scale in version.spec.scales)
    assert version.verify_golden_predictions() <= 1e-3 * spread
    assert version.heat_map((tmp_path / "disk.png").read_bytes(), "diameter").startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="use predict_values"):
        version.predict_image(b"")


def test_curves_and_search_use_r2(published: Published) -> None:
    results = published.results
    (point,) = results["cut_off_curve"]
    assert set(point) == {"layer", "channels", "penalty", "r2"}
    assert point["r2"]["value"] <= 1
    assert {each["method"] for each in results["reduced_curve"]} == {"pca", "pls"}
    assert all(each["r2"]["value"] is not None for each in results["reduced_curve"])
    best = max(results["cut_off_search"], key=lambda trial: trial["metrics"]["val_r2"])
    assert best["overrides"]["model_cut_off"] == ModelSpec.read(published.tuned.model).cut_off
    assert results["random_baseline"]["metric"] == "r2"
    history = json.loads((published.tuned.model / "history.json").read_text())
    assert {"mae", "val_mae", "val_r2", "val_loss"} <= set(history["epochs"][0])


def test_report_shows_errors_beside_the_baseline_and_no_auroc(published: Published) -> None:
    for text in (
        "Results by target", "Bland-Altman plot", "Largest errors", "Subgroup analysis", "Sex: F", "always",
        "Calibration, shortcut analysis and confounders", "Mean R²", "Validation R² of a linear probe",
        "Validation R² after fine-tuning from each cut-off",
    ):  # fmt: skip
        assert text in published.report, text
    assert "AUROC" not in published.report.replace("gate_min_auroc", "")
    assert "accuracy" not in published.report


def test_data_report_summarizes_the_targets(published: Published, tmp_path: Path) -> None:
    write_data_report(published.folder / "shards", tmp_path / "data.html")
    page = (tmp_path / "data.html").read_text()
    assert "standard deviation" in page
    assert "positive" not in page
    train = published.results["data"]["splits"]["train"]
    assert train["positives"] == {}
    assert train["targets"]["area"]["unknown"] > 0


def test_model_card_and_kfp_metrics_name_the_errors(published: Published) -> None:
    card = (Path(published.uri) / "assets.extra" / "model_card.md").read_text()
    assert "one number for each of diameter, area" in card
    assert "| diameter |" in card
    assert "highest mean R² on validation" in card
    assert "AUROC" not in card.replace("gate\\_min\\_auroc", "")
    logged = published.outcome.scalars
    assert {"r2_test", "r2_test_low", "r2_test_high", "gate_promoted", "x_r2_features"} <= set(logged)
    assert max(map(len, logged)) <= 20
    assert published.outcome.categories == ()


def test_tensorboard_holds_errors_and_a_plot(published: Published) -> None:
    found = scalars(published.folder / "logs" / "evaluation" / "fine_tuning", ("test",))
    assert {"test/r2", "test_mae/diameter", "test_baseline_mae/area"} <= set(found)


def test_explanations_show_the_largest_errors(published: Published) -> None:
    predictions = pd.read_parquet(published.folder / "evaluation" / "predictions.parquet")
    test = predictions[(predictions["strategy"] == "fine_tuning") & (predictions["split"] == "test")]
    worst = test.loc[(test["score:diameter"] - test["label:diameter"]).idxmax(), "image_id"]
    assert worst in published.report


def test_drift_compares_predicted_values(published: Published, tmp_path: Path) -> None:
    write_disks(tmp_path / "new", 24, first=900)
    extra = Path(published.uri) / "assets.extra"
    run = compare_with_version(extra, "table", str(tmp_path / "new" / "disks.csv"), "standard")
    assert list(run.comparison.drift["labels"]) == list(TARGETS)
    predicted = run.new.sample.scores[:, 0]
    assert predicted.shape == (24,)
    assert 4 < predicted.min() < predicted.max() < 20  # diameters, not standardized


def test_champion_predicts_the_same_targets_in_their_order(published: Published) -> None:
    settings = Evaluate(publish_registry=f"{published.folder}/registry", publish_model_name="disks")
    data = Shards.read(published.folder / "shards")
    found = champion.load_champion(settings, data, devices.distribution_strategy(), "another run")
    assert found is not None
    assert found.predictions is not None, found.rejection_reason
    own = artifact.load_model(published.tuned.model).predict(data.images("test", 16), verbose=0)
    columns = [f"score:{target}" for target in TARGETS]
    np.testing.assert_allclose(found.predictions[columns], own, rtol=1e-4)


def test_commands_of_models_show_errors_and_values(published: Published, tmp_path: Path) -> None:
    (tmp_path / "disk.png").write_bytes(encode(disk_image(12.0, 501)))

    def models(*arguments: str) -> str:
        place = ("--registry", f"{published.folder}/registry", "--model", "disks")
        result = CliRunner().invoke(main, ["models", *arguments, *place], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "test R² (95%)" in models("list")
    assert "mean absolute error" in models("show", "1")
    assert "test: area MAE of always predicting the median of training" in models("diff", "1", "1")
    record = tmp_path / "predictions.json"
    output = models(
        "predict", "1", str(tmp_path / "disk.png"), "--json", str(record), "--heat-maps", str(tmp_path / "maps")
    )
    assert "diameter" in output
    (image,) = json.loads(record.read_text())["images"]
    assert [each["label"] for each in image["predictions"]] == list(TARGETS)
    assert all(Path(each["heat_map"]).is_file() for each in image["predictions"])
    assert set(image["predictions"][0]) == {"label", "value", "heat_map"}


def test_external_evaluation_of_numbers_is_refused_with_a_reason(published: Published, tmp_path: Path) -> None:
    place = ("--registry", f"{published.folder}/registry", "--model", "disks", "--version", "1")
    options = ("--source", f"{published.folder}/images/disks.csv", "--format", "table", "--no-record")
    report = ("--report", str(tmp_path / "external.html"))
    result = CliRunner().invoke(main, ["evaluate", *place, *options, *report])
    assert result.exit_code == 1
    assert "version 1 must predict labels to be evaluated on another archive, got the numbers diameter, area" in (
        result.output
    )


def test_kfp_metrics_of_numbers_log_no_confusion_matrix(published: Published) -> None:
    logged: dict[str, float] = {}

    class Metrics:
        def log_metric(self, name: str, value: float) -> None:
            logged[name] = value

    published.outcome.log_to(Metrics(), object())  # `object` has no method to log curves
    assert logged == published.outcome.scalars


def test_numbers_of_studies_with_patient_data_are_predicted_and_contributions_are_not_measured(tmp_path: Path) -> None:
    """They are differences of AUROCs, which failed at the end of the run."""
    both = dataclasses.replace(minimal_run.EXTRACT_FEATURES, model_views="frontal_lateral", model_patient_data="sex")
    with pytest.MonkeyPatch.context() as patch:
        replace_backbone(patch)
        result = minimal_run.run_stages(disk_studies(tmp_path), tmp_path / "run", features=both)
    results = json.loads((tmp_path / "run" / "evaluation" / "metrics.json").read_text())
    assert not {"views", "patient_data"} & set(results)
    for name in ("lateral images", "patient data"):
        assert f"what {name} contribute is not measured" in " ".join(results["warnings"])
    version = load_version(f"{tmp_path}/run/registry/{minimal_run.MODEL}/{result.version}")
    assert list(version.spec.inputs) == ["picture", "lateral", "patient"]
    version.verify_golden_predictions()
