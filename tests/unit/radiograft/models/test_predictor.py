"""Running a network on a dataset: each image once, in order, with the same outputs as Keras's `predict`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.models.predictor import Predictor, stream_to_file

IMAGES = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 1), dtype=np.uint8)


class TraceCounter(keras.layers.Layer):  # type: ignore[misc]
    """Returns its input and counts how often it is traced."""

    count = 0

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        self.count += 1
        return inputs


@pytest.fixture(scope="module")
def model() -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(x))
    x = keras.layers.Dropout(0.5)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(3)(x))


@pytest.fixture(scope="module")
def predictor(model: keras.Model) -> Predictor:
    return Predictor(model, tf.distribute.get_strategy())


def batched(values: object, size: int) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(values).batch(size)


@settings(max_examples=8, deadline=None)
@given(batch_size=st.integers(1, 13))
def test_iter_outputs_matches_keras_predict(model: keras.Model, predictor: Predictor, batch_size: int) -> None:
    batches = batched(IMAGES, batch_size)
    outputs = list(predictor.iter_outputs(batches))
    assert [len(output) for output in outputs] == [len(batch) for batch in batches]
    assert all(output.dtype == np.float32 for output in outputs)
    np.testing.assert_allclose(np.concatenate(outputs), model.predict(IMAGES, verbose=0), atol=1e-5)


def test_iter_outputs_smaller_last_batch_matches_single_images(predictor: Predictor) -> None:
    first, second, last = predictor.iter_outputs(batched(IMAGES, 4))
    assert (len(first), len(second), len(last)) == (4, 4, 3)
    single_images = list(predictor.iter_outputs(batched(IMAGES[8:], 1)))
    np.testing.assert_allclose(last, np.concatenate(single_images), atol=1e-6)


def test_iter_outputs_without_images_yields_nothing(predictor: Predictor) -> None:
    assert list(predictor.iter_outputs(batched(IMAGES[:0], 4))) == []


def test_iter_outputs_all_batch_sizes_share_one_trace() -> None:
    counter = TraceCounter()
    inputs = keras.Input((8, 8, 1), dtype="uint8")
    predictor = Predictor(keras.Model(inputs, counter(inputs)), tf.distribute.get_strategy())
    before = counter.count
    for size in (4, 4, 11, 3):
        np.testing.assert_array_equal(np.concatenate(list(predictor.iter_outputs(batched(IMAGES, size)))), IMAGES)
    assert counter.count == before + 1


@pytest.mark.filterwarnings("error")
def test_parts_several_inputs_in_half_precision_yield_all_outputs() -> None:
    first, second = keras.Input((2,)), keras.Input((3, 2))
    pooled = keras.layers.GlobalAveragePooling1D()(second)
    model = keras.Model([first, second], [keras.layers.Add()([first, pooled]), pooled])
    values = np.arange(10, dtype="float16").reshape(5, 2), np.ones((5, 3, 2), dtype="float16")
    batches = list(Predictor(model, tf.distribute.get_strategy()).iter_batches(batched(values, 2)))
    assert [[len(output) for output in outputs] for outputs in batches] == [[2, 2], [2, 2], [1, 1]]
    sums, means = (np.concatenate(outputs) for outputs in zip(*batches, strict=True))
    np.testing.assert_array_equal(sums, np.arange(10).reshape(5, 2) + 1)
    np.testing.assert_array_equal(means, np.ones((5, 2)))
    assert (sums.dtype, means.dtype) == (np.float32, np.float32)


def batches_of(values: np.ndarray, *sizes: int) -> Iterator[np.ndarray]:
    start = 0
    for size in sizes:
        yield values[start : start + size]
        start += size


def test_stream_to_file_stores_all_batches_in_order(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(10, 3)
    stored = stream_to_file(batches_of(values, 4, 4, 2), 10, tmp_path / "features.npy")
    assert isinstance(stored, np.memmap)
    assert not stored.flags.writeable
    np.testing.assert_array_equal(stored, values)
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), values)


def test_stream_to_file_number_above_float16_raises(tmp_path: Path) -> None:
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
def test_stream_to_file_other_number_of_rows_raises(tmp_path: Path, sizes: tuple[int, ...], message: str) -> None:
    values = np.zeros((12, 3), dtype=np.float32)
    with pytest.raises(ValueError, match=message):
        stream_to_file(batches_of(values, *sizes), 10, tmp_path / "features.npy")
