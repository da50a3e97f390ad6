"""The extract-features stage on a small dataset."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from radiograft.backbones.spec import IMAGENET
from radiograft.config.base import read_settings
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.backbone import build_backbone
from radiograft.models.heads import build_feature_extractor
from radiograft.models.spec import ModelSpec
from radiograft.stages.extract_features import task
from radiograft.training.feature_extraction import RANDOM_PREDICTIONS
from tests.helpers.stages import EXTRACT_FEATURES, FINE_TUNE, Trained, run_extract_features, run_fine_tune
from tests.helpers.tensorboard_events import scalars


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_extract_features_writes_features_model_and_logs(feature_extraction: Trained) -> None:
    assert contents(feature_extraction.features) == [
        "curve.json",
        "probe_scores.npy",
        "random_weights/train.npy",
        "random_weights/validation.npy",
        RANDOM_PREDICTIONS,
        "train.npy",
        "validation.npy",
    ]
    assert contents(feature_extraction.model) == ["contract.json", "history.json", "model.keras", "settings.json"]
    assert sorted(path.name for path in feature_extraction.logs.iterdir()) == [
        "feature_extraction",
        "linear_probes",
        "random_weights",
    ]


def test_extract_features_stores_features_of_pretrained_backbone(
    feature_extraction: Trained, shards_folder: Path
) -> None:
    data = Shards.read(shards_folder)
    backbone = build_feature_extractor(build_backbone("efficientnet_lite0", "imagenet", "", 32))
    for split in ("train", "validation"):
        images = np.concatenate(list(data.images(split, 100)))
        stored = np.load(feature_extraction.features / f"{split}.npy")
        assert (stored.shape[1], stored.dtype) == (3088, np.float16)  # all 17 layers, the last layer at the end
        np.testing.assert_allclose(stored[:, -1280:], backbone(images), rtol=1e-3, atol=1e-4)


def test_extract_features_model_contains_pretrained_backbone(feature_extraction: Trained, shards_folder: Path) -> None:
    model = artifact.load_model(feature_extraction.model)
    assert model.input_shape == (None, 32, 32, 1)
    assert model.output_shape == (None, 3)
    backbone = build_backbone("efficientnet_lite0", "imagenet", "", 32)
    for layer in backbone.layers:
        for one, other in zip(layer.get_weights(), model.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    features = keras.Model(model.inputs[0], model.get_layer("pooled").output)
    images = next(Shards.read(shards_folder).images("train", 4).as_numpy_iterator())
    stored = np.load(feature_extraction.features / "train.npy")[:4, -1280:]
    np.testing.assert_allclose(features(images), stored, rtol=1e-3, atol=1e-4)


def test_extract_features_records_spec_and_settings(feature_extraction: Trained) -> None:
    spec = ModelSpec.read(feature_extraction.model)
    assert spec == ModelSpec(
        image_size=32,
        labels=("Pneumonia", "Effusion", "Emphysema"),
        backbone="efficientnet_lite0",
        weights="imagenet",
        cut_off="",
        strategy="feature_extraction",
        normalization=IMAGENET,
    )
    recorded = read_settings(feature_extraction.model)
    assert recorded["model_dense_units"] == 16
    assert recorded["image_augmentation"] == "poster"  # a setting of the previous stage


def test_extract_features_trains_classifier_and_keeps_best_epoch(
    feature_extraction: Trained, shards_folder: Path
) -> None:
    history = json.loads((feature_extraction.model / "history.json").read_text())
    rows = [history["initial"], *history["epochs"]]
    assert len(history["epochs"]) == 3
    assert history["best_epoch"] == int(np.argmax([row["val_auroc"] for row in rows])) > 0
    data = Shards.read(shards_folder)
    images = np.concatenate(list(data.images("validation", 64)))
    scores = np.asarray(artifact.load_model(feature_extraction.model)(images, training=False))
    assert roc_auc_score(data.truth("validation"), scores) == pytest.approx(rows[history["best_epoch"]]["val_auroc"])


def test_extract_features_all_layers_standardizes_with_training_images_and_fine_tunes(
    shards_folder: Path, tmp_path: Path
) -> None:
    """The network reads the stored features of all layers; cached and online fine-tuning start from the same state."""
    settings = dataclasses.replace(EXTRACT_FEATURES, model_feature_layer="all", model_random_baseline=False)
    stage = run_extract_features(settings, shards_folder, tmp_path / "all")
    model, data = artifact.load_model(stage.model), Shards.read(shards_folder)
    stored = np.load(stage.features / "train.npy").astype("float64")
    mean, variance = model.get_layer("pooled").get_weights()
    np.testing.assert_allclose(mean, stored.mean(axis=0), rtol=1e-5, atol=1e-6)
    widths = [point["channels"] for point in json.loads((stage.features / "curve.json").read_text())]
    layers = np.split(stored.var(axis=0), np.cumsum(widths)[:-1])
    bounded = [np.maximum(part, 0.1**2 * part.mean()) for part in layers]  # many channels are constant at 32 px
    np.testing.assert_allclose(variance, np.concatenate(bounded), rtol=1e-4)
    images = np.concatenate(list(data.images("train", 100)))
    pooled = keras.Model(model.input, model.get_layer("pooled").output)(images)
    np.testing.assert_allclose(pooled, (stored - mean) / np.sqrt(variance), atol=0.05)  # stored in half precision
    assert ModelSpec.read(stage.model).head == ("classifier_dense", "classifier_dropout", "probabilities")
    histories = []
    for augmentation in ("cached", "online"):
        changes = {"model_cut_off": "block5c_expand_conv", "train_augmentation": augmentation}
        tune = dataclasses.replace(FINE_TUNE, **changes)  # type: ignore[arg-type]
        tuned = run_fine_tune(tune, shards_folder, stage.model, tmp_path / augmentation)
        histories.append(json.loads((tuned.model / "history.json").read_text()))
        final = artifact.load_model(tuned.model)
        np.testing.assert_array_equal(final.get_layer("pooled").get_weights(), [mean, variance])
        assert histories[-1]["epochs"][0]["val_loss"] != histories[-1]["initial"]["val_loss"]
    assert histories[0]["initial"]["val_auroc"] == pytest.approx(histories[1]["initial"]["val_auroc"], abs=1e-3)
    assert histories[0]["initial"]["val_loss"] == pytest.approx(histories[1]["initial"]["val_loss"], abs=1e-3)


def test_extract_features_listed_layers_ends_at_deepest(shards_folder: Path, tmp_path: Path) -> None:
    changes = {"model_feature_layer": "block5c_add, block3b_add", "model_cut_off": "block5c_expand_conv"}
    settings = dataclasses.replace(EXTRACT_FEATURES, model_random_baseline=False, **changes)
    model = artifact.load_model(run_extract_features(settings, shards_folder, tmp_path).model)
    assert model.get_layer("pooled").output.shape == (None, 40 + 112)
    names = [layer.name for layer in model.layers]
    assert "block5c_add" in names
    assert "block6a_expand_conv" not in names


@pytest.mark.parametrize("name", ["feature_extraction", "random_weights"])
def test_extract_features_logs_accuracy_and_loss_to_tensorboard(feature_extraction: Trained, name: str) -> None:
    history = json.loads((feature_extraction.model / "history.json").read_text())["epochs"]
    for run, prefix in (("train", ""), ("validation", "val_")):
        curves = scalars(feature_extraction.logs / name / run)
        assert {"epoch_loss", "epoch_accuracy"} <= set(curves)
        assert len(curves["epoch_loss"]) == len(curves["epoch_accuracy"]) == 3
        if name == "feature_extraction":
            assert curves["epoch_loss"] == pytest.approx([row[f"{prefix}loss"] for row in history], abs=1e-6)
            assert curves["epoch_accuracy"] == pytest.approx([row[f"{prefix}accuracy"] for row in history], abs=1e-6)


def test_extract_features_random_baseline_predicts_validation(feature_extraction: Trained, shards_folder: Path) -> None:
    data = Shards.read(shards_folder)
    predictions = pd.read_parquet(feature_extraction.features / RANDOM_PREDICTIONS)
    assert predictions["image_id"].tolist() == data.split("validation")["image_id"].tolist()
    assert predictions["score:Pneumonia"].between(0, 1).all()
    pretrained, random = (
        np.load(feature_extraction.features / name / "validation.npy") for name in (".", "random_weights")
    )
    assert pretrained.shape == random.shape == (39, 3088)
    assert np.abs(pretrained - random).mean() > 0.01


def test_extract_features_same_seed_without_baseline_gives_same_result(
    feature_extraction: Trained, shards_folder: Path, tmp_path: Path
) -> None:
    settings = dataclasses.replace(EXTRACT_FEATURES, model_random_baseline=False)
    second = run_extract_features(settings, shards_folder, tmp_path)
    assert contents(second.features) == ["curve.json", "probe_scores.npy", "train.npy", "validation.npy"]
    assert (second.features / "curve.json").read_bytes() == (feature_extraction.features / "curve.json").read_bytes()
    assert (second.model / "history.json").read_text() == (feature_extraction.model / "history.json").read_text()
    weights = (artifact.load_model(stage.model).get_weights() for stage in (feature_extraction, second))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_extract_features_random_baseline_is_independent_of_work_before_it(
    feature_extraction: Trained, shards_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resumed attempt skips work that drew random numbers; the baseline must get the same weights."""
    compute_curve = task.compute_curve

    def draw_and_compute(*args: Any) -> Any:
        random.random()
        return compute_curve(*args)

    monkeypatch.setattr(task, "compute_curve", draw_and_compute)
    second = run_extract_features(EXTRACT_FEATURES, shards_folder, tmp_path)
    for name in ("random_weights/train.npy", RANDOM_PREDICTIONS):
        assert (second.features / name).read_bytes() == (feature_extraction.features / name).read_bytes(), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_cut_off": "conv5_block16_2_conv"}, "model_cut_off must be a layer of efficientnet_lite0"),
        ({"model_cut_off": "top_cnv"}, "got 'top_cnv'; did you mean 'top_conv'"),
        (
            {"model_cut_off": "top_activation"},
            "must leave weights of the backbone to train, but there are none from 'top_activation' on",
        ),
        ({"model_feature_layer": "block4a"}, r"model_feature_layer must be .*, got 'block4a'; did you mean 'block4"),
        (
            {"model_feature_layer": "block4c_add"},
            "must suit a network that ends at the feature layer 'block4c_add': .* be a layer of .*, got 'top_conv'",
        ),
        (
            {"model_feature_layer": "block4c_add", "model_cut_off": "block4c_add"},
            "ends at the feature layer 'block4c_add': model_cut_off must leave weights .* none from 'block4c_add' on",
        ),
        (
            {"model_feature_layer": "block3b_add,block4c_add"},
            "must suit a network that ends at the feature layer 'block4c_add': .* got 'top_conv'",
        ),
        ({"model_feature_layer": "block3b_add,block4a"}, "model_feature_layer must be .*, got 'block4a'"),
        ({"model_weights": "FILE", "model_weights_md5": "0" * 32}, "model_weights_md5 must be the MD5"),
    ],
)
def test_extract_features_invalid_setting_raises_before_work(
    changes: dict[str, str | int], message: str, shards_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "some.weights.h5"
    path.write_bytes(b"weights")
    values = {name: str(path) if value == "FILE" else value for name, value in changes.items()}
    with pytest.raises(ValueError, match=message):
        run_extract_features(dataclasses.replace(EXTRACT_FEATURES, **values), shards_folder, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def extract_with_auto_layer(cut_off: str, shards_folder: Path, folder: Path) -> keras.Model:
    """Returns the model on the layer that `auto` selects for a cut-off."""
    changes = {"model_random_baseline": False, "model_feature_layer": "auto", "model_cut_off": cut_off}
    settings = dataclasses.replace(EXTRACT_FEATURES, **changes)  # type: ignore[arg-type]
    return artifact.load_model(run_extract_features(settings, shards_folder, folder).model)


def test_extract_features_auto_layer_depends_on_cut_off(
    feature_extraction: Trained, shards_folder: Path, tmp_path: Path
) -> None:
    """Fails if `auto` selects the best layer of all, which lies before the cut-off: nothing could be fine-tuned."""
    points = json.loads((feature_extraction.features / "curve.json").read_text())
    assert max(points, key=lambda point: point["auroc"])["layer"] != "top_activation"
    model = extract_with_auto_layer("top_conv", shards_folder, tmp_path)
    assert {"top_conv", "top_activation"} <= {layer.name for layer in model.layers}


def test_extract_features_curve_has_all_blocks_and_auto_selects_best(
    feature_extraction: Trained, shards_folder: Path, tmp_path: Path
) -> None:
    points = json.loads((feature_extraction.features / "curve.json").read_text())
    assert len(points) == 17
    assert (points[0]["layer"], points[0]["channels"]) == ("block1a_project_bn", 16)
    assert (points[-1]["layer"], points[-1]["channels"]) == ("top_activation", 1280)
    logged = scalars(feature_extraction.logs / "linear_probes")["cut_off_curve/validation_auroc"]
    assert logged == pytest.approx([point["auroc"] for point in points], abs=1e-6)
    best = max(points, key=lambda point: point["auroc"])
    model = extract_with_auto_layer("block1a_dwconv", shards_folder, tmp_path)
    assert model.get_layer("pooled").output.shape[-1] == best["channels"]
    assert "top_conv" not in {layer.name for layer in model.layers}
