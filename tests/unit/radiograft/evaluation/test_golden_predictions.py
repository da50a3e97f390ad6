"""Golden predictions of a version: phantoms and the probabilities that the model predicts for them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.evaluation.predictions import write_golden_predictions
from radiograft.imaging.decode import decode
from radiograft.imaging.geometry import ImageInput
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from tests.helpers.killed_stage import small_network


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[keras.Model]:
    """A small network in full and in mixed precision."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield artifact.load_model(small_network(tmp_path / "model", 32, ("Pneumonia", "Mass")))
    keras.config.set_dtype_policy(before)


@pytest.fixture
def folder(model: keras.Model, tmp_path: Path) -> Path:
    write_golden_predictions(Predictor(model, tf.distribute.get_strategy()), tmp_path)
    return tmp_path / "sample"


def test_golden_predictions_images_are_phantoms(folder: Path) -> None:
    """Fails if images of patients are copied to the registry."""
    phantoms = {content for name, content in generate_phantom_files(6, seed=0) if name.endswith(".png")}
    images = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    assert len(set(images)) == 6
    assert set(images) <= phantoms


def test_golden_predictions_match_the_network(model: keras.Model, folder: Path) -> None:
    recorded = json.loads((folder / "probabilities.json").read_text())
    assert sorted(recorded["probabilities"]) == [f"{number}.png" for number in range(6)]
    for name, expected in recorded["probabilities"].items():
        image = decode(tf.constant((folder / name).read_bytes()), ImageInput(32))
        probabilities = model(image[None]).numpy()[0]
        assert probabilities == pytest.approx(expected, abs=recorded["tolerance"] / 2)


def test_golden_predictions_mixed_precision_has_wider_tolerance(model: keras.Model, folder: Path) -> None:
    recorded = json.loads((folder / "probabilities.json").read_text())
    mixed = "bfloat16" in {layer.compute_dtype for layer in model.layers}
    assert recorded["tolerance"] == (0.1 if mixed else 0.001)


def test_golden_predictions_of_a_model_of_color_differ_between_channels(tmp_path: Path) -> None:
    """Fails if the images are gray: then predictions agree in whatever order a server reads the channels."""
    image = keras.Input((32, 32, 3), dtype="uint8", name="picture")
    means = keras.layers.GlobalAveragePooling2D(dtype="float32")(image)
    network = keras.Model(image, keras.layers.Rescaling(1 / 255, dtype="float32", name="probabilities")(means))
    write_golden_predictions(Predictor(network, tf.distribute.get_strategy()), tmp_path)
    recorded = json.loads((tmp_path / "sample" / "probabilities.json").read_text())
    for name, (red, green, blue) in recorded["probabilities"].items():
        pixels = tf.io.decode_png((tmp_path / "sample" / name).read_bytes()).numpy()
        assert pixels.shape == (256, 256, 3)
        assert (pixels[..., 0] != pixels[..., 1]).mean() > 0.5
        assert [green, 1 - blue] == pytest.approx([red, red], abs=0.005)
