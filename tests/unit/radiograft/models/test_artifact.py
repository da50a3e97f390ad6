"""Saved models: safe to load, and served by TensorFlow without this package as they were evaluated."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from radiograft.data.catalog import score_column
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.decode import decode
from radiograft.imaging.geometry import ImageInput
from radiograft.models import artifact
from radiograft.models.spec import SERVING_SIGNATURE, ModelSpec
from tests.helpers.images import encode, noise
from tests.helpers.stages import Evaluated, Trained

SPEC = ModelSpec(
    image_size=32,
    labels=("Effusion", "Mass"),
    backbone="efficientnet_lite0",
    weights="imagenet",
    cut_off="top_conv",
    strategy="fine_tuning",
)
HISTORY = {"epochs": [{"epoch": 1, "loss": 0.5}], "best_epoch": 1, "initial": {"val_loss": 0.7}}

SERVE_WITH_TENSORFLOW_ALONE = """
import json, pathlib, sys
import tensorflow as tf

folder, *files = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures["serving_default"]
contents = [pathlib.Path(file).read_bytes() for file in files]
outputs = serve(image_bytes=tf.constant(contents))
assert list(outputs) == ["probabilities"], outputs
assert "radiograft" not in sys.modules, "the SavedModel needs this package"
print(json.dumps(outputs["probabilities"].numpy().tolist()))
"""


def small_network() -> keras.Model:
    first, last = (keras.initializers.GlorotUniform(seed) for seed in (0, 1))
    inputs = keras.Input((32, 32, 1), dtype="uint8", name="picture")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3, kernel_initializer=first)(x))
    return keras.Model(inputs, keras.layers.Dense(2, activation="sigmoid", kernel_initializer=last)(x))


def test_load_model_saved_model_returns_same_outputs(tmp_path: Path) -> None:
    model = small_network()
    artifact.save_model(tmp_path / "model", model, SPEC, HISTORY)
    assert ModelSpec.read(tmp_path / "model") == SPEC
    assert json.loads((tmp_path / "model" / "history.json").read_text()) == HISTORY
    images = np.stack([noise(32, seed)[..., None] for seed in range(3)])
    np.testing.assert_array_equal(artifact.load_model(tmp_path / "model")(images), model(images))


def test_load_model_with_lambda_raises(tmp_path: Path) -> None:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Lambda(lambda x: x * 2)(inputs))
    artifact.save_model(tmp_path, model, SPEC, HISTORY)
    with pytest.raises(ValueError, match="Lambda"):
        artifact.load_model(tmp_path)


@pytest.mark.parametrize("stage", ["feature_extraction", "fine_tuning"])
def test_trained_model_has_only_layers_of_keras(stage: str, request: pytest.FixtureRequest) -> None:
    trained: Trained = request.getfixturevalue(stage)
    modules = {type(layer).__module__.partition(".")[0] for layer in artifact.load_model(trained.model).layers}
    assert modules == {"keras"}


def test_saved_model_without_package_reproduces_recorded_predictions(evaluation: Evaluated, tmp_path: Path) -> None:
    data = Shards.read(evaluation.inputs.shards)
    recorded = pd.read_parquet(evaluation.folder / "predictions.parquet")
    recorded = recorded[(recorded["strategy"] == "fine_tuning") & (recorded["split"] == "test")]
    rows = data.split("test")
    assert recorded["image_id"].tolist() == rows["image_id"].tolist()
    saved = evaluation.inputs.model / "saved_model"
    command = [sys.executable, "-c", SERVE_WITH_TENSORFLOW_ALONE, str(saved), *rows["uri"]]
    stdout = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    expected = recorded[[score_column(label) for label in data.labels]]
    np.testing.assert_allclose(json.loads(stdout.splitlines()[-1]), expected, atol=1e-5)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> tf.types.experimental.ConcreteFunction:
    """The serving signature of the small network."""
    folder = tmp_path_factory.mktemp("served") / "saved_model"
    artifact.export_saved_model(small_network(), SPEC, folder)
    return tf.saved_model.load(str(folder)).signatures[SERVING_SIGNATURE]


def test_serving_signature_each_file_type_matches_preprocessing(
    serve: tf.types.experimental.ConcreteFunction,
) -> None:
    color = Image.fromarray(noise(90)).convert("RGBA")
    contents = [encode(noise(50)), encode(noise(70), "JPEG"), encode(color), encode(noise(32).astype(np.uint16) * 257)]
    images = np.stack([decode(tf.constant(content), ImageInput(32)) for content in contents])
    served = serve(image_bytes=tf.constant(contents))["probabilities"]
    assert served.dtype == tf.float32
    np.testing.assert_allclose(served, small_network()(images), atol=1e-6)


def test_serving_signature_accepts_any_batch_size(serve: tf.types.experimental.ConcreteFunction) -> None:
    for count in (1, 5):
        contents = tf.constant([encode(noise(32, seed)) for seed in range(count)], dtype=tf.string)
        assert serve(image_bytes=contents)["probabilities"].shape == (count, 2)


def test_serving_signature_truncated_image_raises(serve: tf.types.experimental.ConcreteFunction) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        serve(image_bytes=tf.constant([encode(noise(32))[:200]]))


def test_export_saved_model_twice_gives_same_predictions(tmp_path: Path) -> None:
    predictions = []
    for name in ("one", "other"):
        artifact.export_saved_model(small_network(), SPEC, tmp_path / name)
        signature = tf.saved_model.load(str(tmp_path / name)).signatures["serving_default"]
        predictions.append(signature(image_bytes=tf.constant([encode(noise(40))]))["probabilities"].numpy())
    np.testing.assert_array_equal(*predictions)
