"""Streaming a data set through a network: every picture once, in order, as `predict` would answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.modeling.inference import stream, stream_to_file

PICTURES = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@settings(max_examples=8, deadline=None)
@given(batch_size=st.integers(1, 13))
def test_a_stream_gives_what_predict_gives(model: keras.Model, batch_size: int) -> None:
    batches = tf.data.Dataset.from_tensor_slices(PICTURES).batch(batch_size)
    outputs = list(stream(model, batches, tf.distribute.get_strategy()))
    assert [len(output) for output in outputs] == [len(batch) for batch in batches]
    assert all(output.dtype == np.float32 for output in outputs)
    np.testing.assert_allclose(np.concatenate(outputs), model.predict(PICTURES, verbose=0), atol=1e-5)


def test_the_last_small_batch_is_like_the_others(model: keras.Model) -> None:
    batches = tf.data.Dataset.from_tensor_slices(PICTURES).batch(4)
    first, second, last = stream(model, batches, tf.distribute.get_strategy())
    assert (len(first), len(second), len(last)) == (4, 4, 3)
    alone = list(stream(model, tf.data.Dataset.from_tensor_slices(PICTURES[8:]).batch(1), tf.distribute.get_strategy()))
    np.testing.assert_allclose(last, np.concatenate(alone), atol=1e-6)


def test_no_pictures_give_no_outputs(model: keras.Model) -> None:
    batches = tf.data.Dataset.from_tensor_slices(PICTURES[:0]).batch(4)
    assert list(stream(model, batches, tf.distribute.get_strategy())) == []


def batches_of(values: np.ndarray, *sizes: int) -> Iterator[np.ndarray]:
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size


def test_a_file_holds_all_batches_in_order(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    stored = stream_to_file(batches_of(values, 4, 4, 2), 10, tmp_path / "features.npy")
    assert isinstance(stored, np.memmap)
    assert not stored.flags.writeable
    np.testing.assert_array_equal(stored, values)
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), values)


def test_a_number_beyond_half_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"features\.npy must hold numbers below 65504, got 70000"):
        stream_to_file(batches_of(np.full((2, 3), 7e4, dtype=np.float32), 2), 2, tmp_path / "features.npy")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 4), r"features\.npy must hold 10 rows, got 8 before"),
        ((4, 4, 3), r"features\.npy must hold 10 rows, got 8 before"),
        ((), r"features\.npy must hold 10 rows, got 0 before"),
    ],
)
def test_a_stream_of_another_length_is_refused(tmp_path: Path, sizes: tuple[int, ...], message: str) -> None:
    values = np.zeros((12, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        stream_to_file(batches_of(values, *sizes), 10, tmp_path / "features.npy")
