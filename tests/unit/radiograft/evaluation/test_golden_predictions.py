"""The sample that travels with a version: synthetic, small, and answered as recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.evaluation.golden_predictions import write_golden_predictions
from radiograft.imaging.decode import decode
from radiograft.models import artifact
from radiograft.models.predictor import Predictor
from tests.helpers.killed_stage import small_network


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[keras.Model]:
    """A small network of either arithmetic."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield artifact.load_model(small_network(tmp_path / "model", 32, ("Pneumonia", "Mass")))
    keras.config.set_dtype_policy(before)


@pytest.fixture
def folder(model: keras.Model, tmp_path: Path) -> Path:
    write_golden_predictions(Predictor(model, tf.distribute.get_strategy()), tmp_path)
    return tmp_path / "sample"


def test_the_images_are_phantoms(folder: Path) -> None:
    """So that no patient's pixels lie in a registry."""
    drawn = {content for name, content in generate_phantom_files(6, seed=0) if name.endswith(".png")}
    images = [path.read_bytes() for path in sorted(folder.glob("*.png"))]
    assert len(set(images)) == 6
    assert set(images) <= drawn


def test_recorded_is_what_the_network_answers(model: keras.Model, folder: Path) -> None:
    recorded = json.loads((folder / "probabilities.json").read_text())
    assert sorted(recorded["probabilities"]) == [f"{number}.png" for number in range(6)]
    for name, expected in recorded["probabilities"].items():
        image = decode(tf.constant((folder / name).read_bytes()), 32)
        answer = model(image[None]).numpy()[0]
        assert answer == pytest.approx(expected, abs=recorded["tolerance"] / 2)


def test_fewer_digits_are_given_more_room(model: keras.Model, folder: Path) -> None:
    recorded = json.loads((folder / "probabilities.json").read_text())
    mixed = "bfloat16" in {layer.compute_dtype for layer in model.layers}
    assert recorded["tolerance"] == (0.1 if mixed else 0.001)
