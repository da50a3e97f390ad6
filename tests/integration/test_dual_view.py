"""All stages on studies of the phantom whose findings the frontal image does not show."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import NamedTuple

import keras
import pandas as pd
import pytest
from click.testing import CliRunner

from radiograft import backbones
from radiograft.config import Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish
from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.data.synthetic.lateral import DRAW
from radiograft.evaluation.backbone_comparison import compare_mean_aurocs
from radiograft.serving.loaded_version import load_version
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from radiograft_pipelines.cli.main import main
from tests.helpers.nih_source import put
from tests.helpers.stages import run_extract_features, run_fine_tune

PATIENTS, SIZE = 200, 64
LABEL = "Pneumonia"
SAMPLES, SEED = 500, 0


def small_network(include_top: bool, weights: None, input_tensor: keras.KerasTensor) -> keras.Model:
    """Four convolutions in place of EfficientNet-Lite0."""
    assert not include_top
    assert weights is None
    outputs = input_tensor
    for name, filters in (("first_conv", 8), ("second_conv", 16), ("third_conv", 16), ("top_conv", 24)):
        conv = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu", name=name)
        outputs = conv(outputs)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), outputs)


class Runs(NamedTuple):
    """Test predictions of a network for frontal images and of one for both, and the results of the latter."""

    frontal: pd.DataFrame
    both: pd.DataFrame
    results: dict
    report: str
    version: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("dual_view")
    place = folder / "data" / f"phantom-{PATIENTS}-patients-seed-{SEED}-studies"
    put(dict(generate_phantom_files(PATIENTS, SEED, SIZE, laterals=True, only_lateral=DRAW)), str(place))
    settings = Ingest(
        data_format="phantom", data_source=str(folder / "data"), data_phantom_patients=PATIENTS, data_unit="study",
        data_labels=LABEL, train_seed=SEED,
    )  # fmt: skip
    ingest.run(settings, folder / "catalog")
    preprocess.run(Preprocess(image_size=SIZE, image_augmentation="none"), folder / "catalog", folder / "shards")
    small = dataclasses.replace(
        backbones.get_backbone("efficientnet_lite0"),
        build=small_network, cut_offs=("first_conv", "top_conv"), taps=("top_conv",),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones._backbones(), "efficientnet_lite0", small)
        evaluated = {views: _run(folder / views, folder / "shards", views) for views in ("frontal", "frontal_lateral")}
    frontal, both = (
        frame[(frame["split"] == "test") & (frame["strategy"] == "fine_tuning")]
        for frame in (pd.read_parquet(output / "predictions.parquet") for output in evaluated.values())
    )
    output = evaluated["frontal_lateral"]
    report = (output.parent / "report.html").read_text()
    files = publish.PublishInputs(output.parent / "fine_tune" / "model", output, output.parent / "report.html")
    registry = str(folder / "registry")
    publish.run(Publish(publish_registry=registry), files, "a-run", folder / "version.json")
    version = Path(registry) / "chest-radiograph" / "1"
    return Runs(frontal, both, json.loads((output / "metrics.json").read_text()), report, version)


def _run(folder: Path, shards: Path, views: str) -> Path:
    """Trains and evaluates a network; returns the folder of the evaluation."""
    extract = ExtractFeatures(
        model_backbone="efficientnet_lite0", model_weights="none", model_cut_off="first_conv", model_dense_units=0,
        model_views=views, model_dropout=0.0, train_batch_size=16, train_feature_epochs=1, train_seed=SEED,
    )  # fmt: skip
    tune = FineTune(
        model_cut_off="first_conv", train_batch_size=16, train_fine_tune_epochs=15, train_patience=15,
        train_fine_tune_learning_rate=3e-3, train_seed=SEED, train_cached_augmentations=1,
    )  # fmt: skip
    start = run_extract_features(extract, shards, folder / "extract_features")
    tuned = run_fine_tune(tune, shards, start.model, folder / "fine_tune")
    inputs = evaluate.EvaluateInputs(shards, start.features, start.model, tuned.model)
    settings = Evaluate(publish_registry=str(folder / "registry"), evaluate_bootstrap_samples=SAMPLES)
    evaluate.run(settings, inputs, "a-run", folder / "evaluation", folder / "report.html", folder / "logs")
    return folder / "evaluation"


def test_dual_view_gains_over_the_frontal_image_and_shuffled_laterals_do_not(runs: Runs) -> None:
    models = [runs.both, runs.frontal]
    gain = compare_mean_aurocs(models, [LABEL], SAMPLES, SEED)["difference"]
    assert gain["low"] > 0
    views = runs.results["views"]
    assert views["minus_shuffled"]["low"] > 0
    assert views["minus_frontal"]["low"] > 0
    assert views["shuffled"]["low"] < 0.5 < views["shuffled"]["high"]


def test_published_version_gives_the_recorded_predictions_with_and_without_a_lateral_image(runs: Runs) -> None:
    recorded = json.loads((runs.version / "assets.extra" / "sample" / "probabilities.json").read_text())
    assert {name: sample["lateral"] for name, sample in recorded["samples"].items()} == {
        f"{number}.png": f"{(number + 1) % 6}.png" for number in range(6)
    }
    assert load_version(runs.version).verify_golden_predictions() < 1e-3


def test_predict_with_a_lateral_image_is_the_recorded_prediction_of_the_study(runs: Runs) -> None:
    samples = runs.version / "assets.extra" / "sample"
    recorded = json.loads((samples / "probabilities.json").read_text())["samples"]["0.png"]
    version = load_version(runs.version)
    frontal, lateral = samples / "0.png", samples / recorded["lateral"]
    both = version.predict([frontal], lateral=lateral)["probability"].tolist()
    assert both == pytest.approx(recorded["probabilities"], abs=1e-4)
    assert both != version.predict([frontal])["probability"].tolist()
    with pytest.raises(ValueError, match=r"lateral must come with one file, .* got 2 files"):
        version.predict([frontal, frontal], lateral=lateral)


def test_models_predict_takes_the_lateral_image_of_one_file(runs: Runs, tmp_path: Path) -> None:
    samples = runs.version / "assets.extra" / "sample"
    place = ["--registry", str(runs.version.parents[1]), "--model", "chest-radiograph", "--heat-maps", str(tmp_path)]
    command = ["models", "predict", "1", str(samples / "0.png"), "--lateral", str(samples / "1.png"), *place]
    result = CliRunner().invoke(main, [*command, "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 0, result.output
    (image,) = json.loads((tmp_path / "out.json").read_text())["images"]
    expected = load_version(runs.version).predict([samples / "0.png"], lateral=samples / "1.png")["probability"]
    assert [each["probability"] for each in image["predictions"]] == pytest.approx(expected.tolist())
    several = CliRunner().invoke(main, [*command, str(samples / "2.png")])
    assert several.exit_code == 2
    assert "--lateral needs one FILE, the frontal image of its study, got 2" in several.output


def test_report_shows_the_control_and_results_by_number_of_images(runs: Runs) -> None:
    assert "Contribution of the lateral image" in runs.report
    groups = [group["group"] for group in runs.results["subgroups"] if group["variable"] == "images"]
    assert groups == ["frontal and lateral", "frontal only"]
