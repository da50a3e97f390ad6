"""Heads that pool a class map, from feature extraction to the published version, on a network of three layers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.config import Publish
from radiograft.data.shards.dataset import Shards
from radiograft.drift.reference import EmbeddingModel
from radiograft.models import artifact
from radiograft.models.class_maps import ClassMapPooling
from radiograft.models.spec import ModelSpec, TensorNames
from radiograft.registry.results import read_results
from radiograft.serving.loaded_version import LoadedVersion
from radiograft.stages.evaluate import task as evaluate
from radiograft.stages.publish import task as publish
from tests.helpers.minimal_run import EXTRACT_FEATURES, FINE_TUNE, replace_backbone
from tests.helpers.served_alone import serve_recorded_samples
from tests.helpers.stages import EVALUATE, Evaluated, run_extract_features, run_fine_tune

HEAD = ("classifier_dropout", "class_map", "class_map_pooled", "probabilities")
NETWORK = ("stem_conv", "top_conv", *HEAD)
SETTINGS = dataclasses.replace(EXTRACT_FEATURES, train_batch_size=8, train_feature_epochs=2, model_pooling="lse_lba")
TUNE = dataclasses.replace(FINE_TUNE, train_batch_size=8, train_augmentation="online", train_fine_tune_epochs=2)


@pytest.fixture(scope="module", autouse=True)
def small_backbone() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        replace_backbone(patch)
        yield


@pytest.fixture(scope="module")
def evaluated(small_backbone: None, shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    folder = tmp_path_factory.mktemp("class_maps")
    start = run_extract_features(SETTINGS, shards_folder, folder / "start")
    tuned = run_fine_tune(TUNE, shards_folder, start.model, folder / "tuned")
    inputs = evaluate.EvaluateInputs(shards_folder, start.features, start.model, tuned.model)
    report = folder / "report.html"
    outcome = evaluate.run(EVALUATE, inputs, "a-run", folder / "evaluation", report, folder / "logs")
    return Evaluated(inputs, folder / "evaluation", report, outcome, folder / "logs")


@pytest.fixture(scope="module")
def registry(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    inputs = publish.PublishInputs(evaluated.inputs.model, evaluated.folder, evaluated.report)
    publish.run(Publish(str(folder), "localizer"), inputs, "a-run", folder / "version.json")
    return folder


@pytest.fixture(scope="module")
def images(shards_folder: Path) -> np.ndarray:
    pixels: np.ndarray = next(Shards.read(shards_folder).images("test", 8).as_numpy_iterator())
    return pixels


def test_feature_extraction_trains_head_on_stored_activations(evaluated: Evaluated, shards_folder: Path) -> None:
    """The scores of the saved network, computed from images, give the AUROC of the training on activations."""
    spec, model = ModelSpec.read(evaluated.inputs.feature_model), artifact.load_model(evaluated.inputs.feature_model)
    assert (spec.pooling, spec.head) == ("lse_lba", HEAD)
    assert spec.tensors == TensorNames(pooling="classifier_dropout", class_map="class_map")
    assert tuple(layer.name for layer in model.layers[-len(NETWORK) :]) == NETWORK
    history = json.loads((evaluated.inputs.feature_model / "history.json").read_text())
    data = Shards.read(shards_folder)
    scores = np.clip(model(np.concatenate(list(data.images("validation", 64)))), 1e-7, 1 - 1e-7)
    truth = data.truth("validation")
    loss = -np.where(truth == 1, np.log(scores), np.log(1 - scores)).mean()
    assert loss == pytest.approx([history["initial"], *history["epochs"]][history["best_epoch"]]["val_loss"], abs=1e-3)
    assert [row["epoch"] for row in history["epochs"]] == [1, 2]


def test_feature_extraction_stores_same_features_with_any_head(
    evaluated: Evaluated, shards_folder: Path, tmp_path: Path
) -> None:
    """The cut-off curve does not depend on the head, and no map is left in the artifact."""
    average = dataclasses.replace(SETTINGS, model_pooling="average")
    pooled = run_extract_features(average, shards_folder, tmp_path)
    files = sorted(path.name for path in evaluated.inputs.features.iterdir())
    assert files == ["curve.json", "probe_scores.npy", "train.npy", "validation.npy"]
    for name in files:
        assert (pooled.features / name).read_bytes() == (evaluated.inputs.features / name).read_bytes(), name


@pytest.mark.parametrize("pooling", ["noisy_or", "csra", "self_transfer"])
def test_fine_tuning_on_cached_activations_starts_as_online(pooling: str, shards_folder: Path, tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, model_pooling=pooling, model_dense_units=4, train_feature_epochs=1)
    start = run_extract_features(settings, shards_folder, tmp_path / "start")
    losses = []
    for augmentation in ("cached", "online"):
        tune = dataclasses.replace(
            TUNE, train_augmentation=augmentation, train_fine_tune_epochs=1, model_cut_off="auto"
        )
        tuned = run_fine_tune(tune, shards_folder, start.model, tmp_path / augmentation)
        losses.append(json.loads((tuned.model / "history.json").read_text())["initial"]["val_loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    trials = json.loads((tuned.model / "search.json").read_text())
    assert [trial["overrides"]["model_cut_off"] for trial in trials] == ["stem_conv", "top_conv"]  # none of the head
    before, after = (artifact.load_model(folder).get_layer("class_map").kernel for folder in (start.model, tuned.model))
    best = max(trials, key=lambda trial: trial["metrics"]["val_auroc"])
    assert best["best_epoch"] == 0 or np.abs(before - after).max() > 0  # the map of two heads trains too


def test_saved_model_equals_network(evaluated: Evaluated, images: np.ndarray) -> None:
    served = tf.saved_model.load(str(evaluated.inputs.model / "saved_model")).signatures["pictures"]
    probabilities = served(pictures=tf.constant(images, "float32"))["probabilities"]
    np.testing.assert_allclose(probabilities, artifact.load_model(evaluated.inputs.model)(images), atol=1e-6)


def test_network_pools_its_class_map(evaluated: Evaluated, images: np.ndarray) -> None:
    model = artifact.load_model(evaluated.inputs.model)
    layer = model.get_layer("class_map_pooled")
    maps = keras.Model(model.input, model.get_layer("class_map").output)(images).numpy()
    r = 1 + np.exp(layer.exponents.numpy())
    expected = np.log(np.exp(r * maps.astype("float64")).mean(axis=(1, 2))) / r
    np.testing.assert_allclose(1 / (1 + np.exp(-expected)), model(images), atol=1e-5)
    assert isinstance(layer, ClassMapPooling)


def test_evaluation_scores_class_map_beside_grad_cam_and_controls(evaluated: Evaluated) -> None:
    localization = read_results(evaluated.folder)["localisation"]
    assert localization is not None
    for found in localization["labels"].values():
        assert list(found["maps"]) == ["grad_cam", "layer_cam", "class_map", "centre", "random"]
        assert list(found["pointing"]) == list(found["maps"])
    page = evaluated.report.read_text(encoding="utf-8")
    assert "its Grad-CAM, its LayerCAM and its class map" in page
    assert page.count('<th scope="row">Class map</th>') == len(localization["labels"])


def test_drift_compares_mean_of_last_activation(evaluated: Evaluated, images: np.ndarray) -> None:
    spec, model = ModelSpec.read(evaluated.inputs.model), artifact.load_model(evaluated.inputs.model)
    embedding = EmbeddingModel(model, tf.distribute.get_strategy(), spec.tensors)
    _, features = embedding.embed(tf.data.Dataset.from_tensors(images))
    last = keras.Model(model.input, model.get_layer("top_conv").output)(images)
    np.testing.assert_allclose(features, np.mean(last, axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_published_version_predicts_as_recorded_and_its_card_names_the_pooling(registry: Path) -> None:
    (card,) = registry.rglob("model_card.md")
    assert "class map, pooled by lse\\_lba" in card.read_text()
    assert LoadedVersion(str(registry), "localizer", 1).verify_golden_predictions() < 1e-5
    alone, _ = serve_recorded_samples(registry / "localizer" / "1")
    assert max(alone) < 1e-4
