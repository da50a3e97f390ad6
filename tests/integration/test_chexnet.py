"""The presets of CheXNet: a whole run on a small network, and the weight files that users of CheXNet have."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from radiograft import backbones, load_version
from radiograft.config import FINDINGS, Evaluate, ExtractFeatures, FineTune, Ingest, Preprocess, Publish
from radiograft.config.base import Scalar
from radiograft.config.resolution import fill_defaults, load_settings_file
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.backbone import build_backbone, read_normalization
from radiograft.models.cut_offs import parse_cut_offs, unfreeze_from
from radiograft.models.heads import build_feature_extractor
from radiograft.models.spec import ModelSpec
from radiograft.registry import versions
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.publish import task as publish
from radiograft_pipelines.cli.main import main
from tests.helpers.images import encode, noise
from tests.helpers.served_alone import serve_recorded_samples
from tests.helpers.stages import run_extract_features, run_fine_tune
from tests.helpers.weight_files import old_name, rule_tensors, torch_legacy, write

SIZE = 32


def small_densenet(include_top: bool, weights: None, input_tensor: keras.KerasTensor) -> keras.Model:
    """Two convolutions with normalizations and a concatenation, with DenseNet-121's names at both ends."""
    assert (include_top, weights) == (False, None)
    outputs = keras.layers.Conv2D(8, 5, strides=4, use_bias=False, name="conv1_conv")(input_tensor)
    outputs = keras.layers.ReLU(name="conv1_relu")(keras.layers.BatchNormalization(name="conv1_bn")(outputs))
    new = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv5_block16_2_conv")(outputs)
    outputs = keras.layers.Concatenate(name="conv5_block16_concat")([outputs, new])
    outputs = keras.layers.ReLU(name="relu")(keras.layers.BatchNormalization(name="bn")(outputs))
    return keras.Model(keras.utils.get_source_inputs(input_tensor), outputs)


@pytest.fixture
def small_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(
        backbones.get_backbone("densenet121"),
        build=small_densenet,
        cut_offs=("conv5_block16_2_conv",),
        taps=("conv5_block16_concat", "relu"),
    )
    monkeypatch.setitem(backbones._backbones(), "densenet121", spec)


def preset(name: str, **changes: Scalar) -> dict[str, Scalar]:
    return fill_defaults(load_settings_file(name) | changes)


def run_all_stages(values: Mapping[str, Scalar], folder: Path) -> Path:
    """Runs all stages and returns the folder of the published version."""
    ingest.run(Ingest.of(values), folder / "catalog")
    preprocess.run(Preprocess.of(values), folder / "catalog", folder / "shards")
    start = run_extract_features(ExtractFeatures.of(values), folder / "shards", folder / "extract_features")
    tuned = run_fine_tune(FineTune.of(values), folder / "shards", start.model, folder / "fine_tune")
    inputs = evaluate.EvaluateInputs(folder / "shards", start.features, start.model, tuned.model)
    evaluate.run(Evaluate.of(values), inputs, "a-run", folder / "evaluation", folder / "report.html", folder / "logs")
    publish_inputs = publish.PublishInputs(tuned.model, folder / "evaluation", folder / "report.html")
    number = publish.run(Publish.of(values), publish_inputs, "a-run", folder / "version.json").version
    return folder / "registry" / str(values["publish_model_name"]) / str(number)


def published_table(report: str) -> list[list[str]]:
    """Returns the cells of the table of published AUROCs by row."""
    (table,) = re.findall(r'aria-label="Published AUROCs">(.*?)</table>', report, re.S)
    rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
    return [
        [re.sub("<[^>]+>", " ", cell).strip() for cell in re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, re.S)]
        for row in rows
    ]


@pytest.mark.usefixtures("small_backbone")
def test_chexnet_preset_trains_all_layers_and_compares_with_published_results(nih_folder: Path, tmp_path: Path) -> None:
    values = preset(
        "chexnet", data_source=str(nih_folder), image_size=SIZE, model_weights="none", train_feature_epochs=1,
        train_fine_tune_epochs=3, evaluate_bootstrap_samples=100, evaluate_min_patients=1,
        publish_registry=str(tmp_path / "registry"), model_ood_percentile=90.0,
    )  # fmt: skip
    version = run_all_stages(values, tmp_path)
    extra, network = version / versions.EXTRA_ASSETS, artifact.load_model(tmp_path / "fine_tune" / "model")
    assert ModelSpec.read(extra).cut_off == "conv1_conv"
    before = artifact.load_model(tmp_path / "extract_features" / "model")
    for layer in network.layers:
        for new, old in zip(layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True):
            assert np.abs(new - old).max() > 1e-5, layer.name
    history = json.loads((tmp_path / "fine_tune" / "model" / "history.json").read_text())
    losses = [row["val_loss"] for row in [history["initial"], *history["epochs"]]]
    assert history["best_epoch"] == losses.index(min(losses)) > 0
    assert "Epoch selection [26]: lowest loss on validation" in re.sub(
        r"\*|\\", "", (extra / "model_card.md").read_text()
    )
    header, splits, *rows = published_table((tmp_path / "report.html").read_text())
    assert header[2:] == [
        "Wang et al. 2017", "CheXNet (Rajpurkar et al. 2017)", "CheXNet, reproduced by Zech",
        "CheXNet, reproduced by arnoweng", "AG-CNN (Guan et al. 2018)",
    ]  # fmt: skip
    assert splits[1:3] == ["official", "official"]
    assert splits[3:] == ["the authors&#39; own, by patient"] * 4
    assert [row[0] for row in rows[:14]] == list(FINDINGS)
    assert rows[13][2:] == ["0.872", "0.916", "0.917", "0.910", "0.921"]
    check_flag(version, nih_folder, tmp_path)


def check_flag(version: Path, nih_folder: Path, folder: Path) -> None:
    """The flag of the served answer is the one that metrics.json counted on test; noise is flagged."""
    extra, data = version / versions.EXTRA_ASSETS, Shards.read(folder / "shards")
    flag = json.loads((extra / "metrics.json").read_text())["out_of_distribution"]
    held_out, test = (flag["splits"][split] for split in ("validation", "test"))
    assert held_out["rate"]["value"] == pytest.approx(0.1, abs=1 / held_out["n_images"])
    assert test["rate"]["low"] <= test["rate"]["value"] <= test["rate"]["high"]
    assert test["n_patients"] == data.split("test")["patient_id"].nunique() < test["n_images"]
    assert "<h2" in (page := (folder / "report.html").read_text())
    assert "Out-of-distribution flag" in page
    card = (extra / "model_card.md").read_text()
    assert f"False alarms on test: {test['flagged']} of {test['n_images']} images" in card
    loaded = load_version(version)
    alone, _ = serve_recorded_samples(version)
    assert max(alone) < 1e-4
    contents = [Path(uri).read_bytes() for uri in data.split("test")["uri"]]
    flags = [each.is_out_of_distribution for each in loaded.measure_distances(contents)]
    assert sum(flags) == test["flagged"]
    (folder / "noise.png").write_bytes(encode(noise(64)))
    assert loaded.predict([folder / "noise.png"])["note"].str.contains("out of distribution: distance").all()
    arguments = ["--registry", str(folder / "registry"), "--model", "chexnet", "--json", str(folder / "screen.json")]
    result = CliRunner().invoke(
        main, ["models", "screen", "1", str(folder / "noise.png"), str(nih_folder / "images_001"), *arguments]
    )
    assert result.exit_code == 0, result.output
    first, second = json.loads((folder / "screen.json").read_text())["screenings"]
    assert (first["rate"]["value"], len(second["distances"])) == (1.0, len(data.rows))
    assert second["rate"]["value"] < 0.5


CASES = {
    "old CheXNet checkpoint": ("densenet121", "imagenet", 3),
    "torchxrayvision": ("torchxrayvision_densenet121", "torchxrayvision", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_chexnet_preset_starts_from_weight_file(case: str, test_data: Path, tmp_path: Path) -> None:
    name, normalization, channels = CASES[case]
    shapes = json.loads((test_data / "torch_state_dict_shapes.json").read_text())[name]
    tensors = rule_tensors(shapes, with_heads=False)
    content = (
        torch_legacy({old_name(key): array for key, array in tensors.items()}, wrapped_in="state_dict")
        if channels == 3
        else torch_legacy(tensors, module="torchxrayvision.models.DenseNet")
    )
    path = write(tmp_path / "weights.pth.tar", content)
    settings = ExtractFeatures.of(preset("chexnet", data_source="/data", model_weights=str(path)))
    network = build_backbone(
        settings.model_backbone, settings.model_weights, image_size=SIZE, normalization=settings.model_normalization
    )
    kernel = tensors["features.conv0.weight"].transpose(2, 3, 1, 0)
    assert kernel.shape == (7, 7, channels, 64)
    np.testing.assert_array_equal(network.get_layer("conv1_conv").get_weights()[0], kernel)
    np.testing.assert_array_equal(
        network.get_layer("conv5_block16_1_bn").get_weights()[2],
        tensors["features.denseblock4.denselayer16.norm2.running_mean"],
    )
    assert read_normalization(network) == backbones.spec.NORMALIZATIONS[normalization]
    features = build_feature_extractor(network)
    (cut_off,) = parse_cut_offs(settings.model_cut_off, features, backbones.get_backbone("densenet121"))
    unfreeze_from(features, cut_off, batch_norm="train")
    assert len(features.trainable_weights) == 120 + 2 * 121  # kernels, and scale and offset of each normalization
