"""Engines of the frozen layers agree with TensorFlow, and `auto` takes the fastest of those that do."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.config import ExtractFeatures
from radiograft.models.predictor import Predictor
from radiograft.training import frozen_engines
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.frozen_engines import build_predictor, choose_engine, fastest_engine, follow_choice

STRATEGY = tf.distribute.get_strategy()
COLUMNS = {"shallow": (slice(0, 8),), "deep": (slice(8, 16),)}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Returns a network from images to pooled features of two layers, with normalization that is not trivial."""
    keras.utils.set_random_seed(3)
    images = keras.Input((16, 16, 1), dtype="uint8")
    tensor, pooled = keras.layers.Rescaling(1 / 128, offset=-1.0)(images), list[keras.KerasTensor]()
    for number in range(2):
        tensor = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(tensor)
        normalization = keras.layers.BatchNormalization(name=f"normalization_{number}")
        tensor = keras.layers.ReLU()(normalization(tensor))
        pooled.append(keras.layers.GlobalAveragePooling2D(dtype="float32")(tensor))
        normalization.moving_mean.assign(np.linspace(-0.2, 0.2, 8))
        normalization.moving_variance.assign(np.linspace(0.5, 2.0, 8))
    return keras.Model(images, keras.layers.Concatenate(dtype="float32")(pooled))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Returns 23 random images, which are no multiple of the batch size."""
    return np.random.default_rng(0).integers(0, 256, (23, 16, 16, 1), dtype="uint8")


@pytest.fixture(scope="module")
def batches(images: np.ndarray) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(images).batch(4)


@pytest.fixture(scope="module")
def expected(network: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(network(images, training=False))


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(axis=1) / norms)


def test_openvino_in_float32_equals_tensorflow_in_order(
    network: keras.Model, batches: tf.data.Dataset, expected: np.ndarray
) -> None:
    outputs = list(build_predictor(network, STRATEGY, "openvino").iter_outputs(batches))

    assert [len(output) for output in outputs] == [4, 4, 4, 4, 4, 3]
    np.testing.assert_allclose(np.concatenate(outputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["tensorflow_bfloat16", "openvino_bfloat16"])
def test_bfloat16_engines_agree_and_repeat_their_result(
    network: keras.Model, batches: tf.data.Dataset, expected: np.ndarray, engine: str
) -> None:
    first, second = (build_predictor(network, STRATEGY, engine).predict(batches) for _ in range(2))

    assert first.dtype == np.float32
    assert _cosines(first, expected).min() > 0.995
    np.testing.assert_array_equal(first, second)


def test_openvino_returns_all_outputs_of_a_network_with_two_images(images: np.ndarray) -> None:
    frontal, lateral = keras.Input((16, 16, 1), dtype="uint8"), keras.Input((16, 16, 1), dtype="uint8")
    halves = [keras.layers.Rescaling(factor)(image) for factor, image in ((0.5, frontal), (2.0, lateral))]
    network = keras.Model([frontal, lateral], [*halves, keras.layers.Subtract()(halves)])
    pairs = tf.data.Dataset.from_tensor_slices((images, images[::-1])).batch(4)

    outputs = list(build_predictor(network, STRATEGY, "openvino").iter_batches(pairs))

    first, second, difference = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
    np.testing.assert_allclose(first, images * 0.5)
    np.testing.assert_allclose(second, images[::-1] * 2.0)
    np.testing.assert_allclose(difference, images * 0.5 - images[::-1] * 2.0)


class Scaled(Predictor):
    """A predictor whose features are wrong in one layer, and which takes a given time by a clock of its own."""

    def __init__(self, model: keras.Model, clock: Clock, seconds: float, deep: float = 1.0) -> None:
        super().__init__(model, STRATEGY)
        self._clock, self._seconds, self._deep = clock, seconds, deep

    def iter_batches(self, batches: tf.data.Dataset) -> Iterator[list[np.ndarray]]:
        """Yields the features; of the deep layer, every second one is scaled."""
        self._clock.now += self._seconds
        for (features,) in super().iter_batches(batches):
            features[:, 8::2] *= self._deep
            yield [features]


class Clock:
    """A clock that moves only when a test moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "deep", "expected"),
    [
        ({"tensorflow": 2.0, "openvino": 1.0, "openvino_bfloat16": 0.5}, {}, "openvino_bfloat16"),
        ({"tensorflow": 2.0, "openvino": 1.0, "openvino_bfloat16": 0.5}, {"openvino_bfloat16": 0.2}, "openvino"),
        ({"tensorflow": 1.05, "openvino": 1.0}, {}, "tensorflow"),
        ({"tensorflow": 1.0, "openvino": 3.0}, {}, "tensorflow"),
    ],
    ids=["fastest", "fastest-disagrees-in-one-layer", "gain-too-small", "slower"],
)
def test_fastest_engine_agrees_in_every_layer(
    network: keras.Model,
    batches: tf.data.Dataset,
    seconds: Mapping[str, float],
    deep: Mapping[str, float],
    expected: str,
) -> None:
    clock = Clock()
    predictors = {name: Scaled(network, clock, seconds[name], deep.get(name, 1.0)) for name in seconds}

    assert fastest_engine(predictors, batches, COLUMNS, clock) == expected


def _choose(network: keras.Model, batches: tf.data.Dataset, count: int, checkpoints: Checkpoints) -> str:
    return choose_engine("auto", network, COLUMNS, batches, count, STRATEGY, checkpoints)


def test_choose_engine_for_few_images_is_tensorflow(network: keras.Model, batches: tf.data.Dataset) -> None:
    assert _choose(network, batches, 4095, Checkpoints("")) == "tensorflow"


def test_choose_engine_keeps_the_choice_of_the_first_attempt(
    network: keras.Model, batches: tf.data.Dataset, tmp_path: Path
) -> None:
    Checkpoints(str(tmp_path)).save(1, {}, {"engine": "openvino_bfloat16"}, keep=True)

    assert _choose(network, batches, 4096, Checkpoints(str(tmp_path))) == "openvino_bfloat16"


def test_choose_engine_saves_its_choice_and_leaves_the_random_state(
    network: keras.Model, batches: tf.data.Dataset, tmp_path: Path
) -> None:
    random.seed(5)
    state = random.getstate()

    chosen = _choose(network, batches, 4096, Checkpoints(str(tmp_path)))

    saved = Checkpoints(str(tmp_path)).latest()
    assert saved is not None
    assert saved.facts == {"engine": chosen}
    assert random.getstate() == state


@pytest.mark.parametrize("engine", ["openvino", "openvino_bfloat16"])
def test_engine_without_its_package_names_the_extra(
    network: keras.Model, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(frozen_engines.importlib.util, "find_spec", lambda _: None)

    with pytest.raises(RuntimeError, match=r"needs the package openvino, .* run `pip install openvino`"):
        build_predictor(network, STRATEGY, engine)


def test_follow_choice_in_another_precision_is_tensorflow() -> None:
    assert follow_choice("auto", "openvino") == "openvino"
    assert follow_choice("openvino_bfloat16", "openvino") == "openvino_bfloat16"
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        assert follow_choice("auto", "openvino") == "tensorflow"
    finally:
        keras.mixed_precision.set_global_policy("float32")


def test_settings_refuse_an_engine_with_mixed_precision() -> None:
    with pytest.raises(
        ValueError, match="train_frozen_engine=openvino needs train_precision=float32 or auto, got mixed"
    ):
        ExtractFeatures(train_frozen_engine="openvino", train_precision="mixed_bfloat16")


def test_openvino_connects_to_no_host() -> None:
    """openvino sends usage statistics on import if its package for that is found."""
    script = """
import socket
def refuse(*arguments, **options): raise SystemExit(f"connects to {arguments}")
socket.socket.connect = socket.getaddrinfo = refuse
import keras, tensorflow as tf
from radiograft.training.frozen_engines import build_predictor
images = keras.Input((4, 4, 1))
network = keras.Model(images, keras.layers.Rescaling(2.0)(images))
batches = tf.data.Dataset.from_tensors(tf.ones((1, 4, 4, 1)))
print(build_predictor(network, tf.distribute.get_strategy(), "openvino").predict(batches).sum())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert result.stdout.strip() == "32.0", result.stderr
    assert "connects to" not in result.stderr
