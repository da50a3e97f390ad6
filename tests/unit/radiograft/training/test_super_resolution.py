"""Training a generator: exact resume, two devices, divergence."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.config import Preprocess
from radiograft.config.super_resolution import SuperResolution
from radiograft.data.shards.dataset import Shards
from radiograft.models import variables
from radiograft.stages.preprocess import task as preprocess
from radiograft.training import devices
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.super_resolution import GeneratorTraining, stream_crops, train_generator

TINY = SuperResolution(
    model_generator_filters=12, model_generator_blocks=2, train_generator_crop=16, train_generator_learning_rate=2e-3,
    train_pixel_steps=200,
)  # fmt: skip
SHORT = dataclasses.replace(
    TINY, model_generator_filters=4, model_generator_blocks=1, train_pixel_steps=2, train_adversarial_steps=4
)


class KilledError(Exception):
    """Stands for the end of a pod."""


class Recorder:
    """Records the steps of the rows, and which are restored."""

    def __init__(self) -> None:
        self.rows = list[tuple[float, float, bool]]()

    def validate(self, generator: keras.Model) -> dict[str, float]:
        return {"parameters": generator.count_params()}

    def record(self, row: dict[str, float], *, restored: bool) -> None:
        self.rows.append((row["step"], row["parameters"], restored))


@pytest.fixture(scope="module")
def images(catalog_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("super_resolution")
    preprocess.run(Preprocess(image_size=64, image_augmentation="none"), catalog_folder, folder)
    return Shards.read(folder)


def start(settings: SuperResolution, batch_size: int = 8) -> GeneratorTraining:
    devices.make_reproducible(0)
    return GeneratorTraining(settings, batch_size, 1, tf.distribute.get_strategy())


def test_killed_training_resumes_with_the_same_bits(
    images: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radiograft.training.super_resolution.SAVE_STEPS", 2)
    whole = start(SHORT)
    train_generator(whole, images, Checkpoints(""))

    def kill(step: int, _: dict[str, float]) -> None:
        if step == 5:
            raise KilledError

    checkpoints = Checkpoints(str(tmp_path))
    with pytest.raises(KilledError):
        train_generator(start(SHORT), images, checkpoints, kill, Recorder())
    steps, recorder, resumed = list[int](), Recorder(), start(SHORT)
    train_generator(resumed, images, checkpoints, lambda step, _: steps.append(step), recorder)
    assert steps == [5, 6]
    size = resumed.averaged.count_params()
    assert recorder.rows == [(2, size, True), (4, size, True), (6, size, False)]
    pairs = zip(variables.read_variables(whole.changing), variables.read_variables(resumed.changing), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_adversarial_steps_begin_after_pixel_steps(images: Shards) -> None:
    losses = list[dict[str, float]]()
    train_generator(start(SHORT), images, Checkpoints(""), lambda _, each: losses.append(each))
    assert [set(each) for each in losses[:2]] == [{"pixel"}] * 2
    assert set(losses[2]) == {"pixel", "adversarial", "discriminator"}


def test_stream_crops_from_a_later_step_continues_the_same_stream(images: Shards) -> None:
    whole = [batch.numpy() for batch in stream_crops(images, TINY, 8).take(12)]
    later = next(iter(stream_crops(images, TINY, 8, start=11))).numpy()
    np.testing.assert_array_equal(later, whole[11])
    assert whole[0].shape == (8, 32, 32, 1)
    assert not np.array_equal(whole[0], whole[1])


def test_stream_crops_larger_than_the_images_raises(images: Shards) -> None:
    with pytest.raises(ValueError, match=r"train_generator_crop must be at most .* \(32\), got 33"):
        stream_crops(images, dataclasses.replace(TINY, train_generator_crop=33), 8)


def test_train_generator_huge_learning_rate_raises(images: Shards) -> None:
    wild = dataclasses.replace(TINY, train_generator_learning_rate=1.0)
    with pytest.raises(FloatingPointError, match="choose a lower train_generator_learning_rate"):
        train_generator(start(wild), images, Checkpoints(""))


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_train_generator_in_mixed_precision_keeps_the_projection_in_float32(images: Shards, precision: str) -> None:
    keras.mixed_precision.set_global_policy(precision)
    try:
        generator, _ = train_generator(start(SHORT), images, Checkpoints(""))
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert generator.get_layer("block_0_a").compute_dtype == precision.removeprefix("mixed_")
    small = np.random.default_rng(0).uniform(50, 200, (1, 8, 8, 1)).astype("float32")
    from radiograft.models.super_resolution import shrink

    np.testing.assert_allclose(shrink(generator(small), 2), small, atol=0.02)


def test_training_on_two_devices_matches_one(images: Shards, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "tests.helpers.two_devices", str(images.folder), str(out), "super_resolution"]
    subprocess.run(command, check=True, capture_output=True)
    result = json.loads(out.read_text())["super_resolution"]
    np.testing.assert_allclose(result["two"]["pixel"], result["one"]["pixel"], rtol=1e-4)
    np.testing.assert_allclose(result["two"]["image"], result["one"]["image"], atol=0.05)
