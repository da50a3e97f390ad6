"""Features in files: the order is kept, epochs are shuffled by the seed, and files are not changed by training."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.extract_features.features import extract, in_order, shuffled
from components.shards import Shards

PICTURES = 11
FEATURES = np.arange(PICTURES * 2, dtype=np.float32).reshape(PICTURES, 2)
TRUTH = FEATURES[:, :1] * 10


def rows(batches: tf.data.Dataset) -> list[list[int]]:
    """The numbers of each batch's rows, after a check that truth stands beside its features."""
    numbers = []
    for values, truth in batches.as_numpy_iterator():
        np.testing.assert_array_equal(truth, values[:, :1] * 10)
        numbers.append((values[:, 0] / 2).astype(int).tolist())
    return numbers


@settings(max_examples=15, deadline=None)
@given(batch_size=st.integers(1, 15))
def test_one_pass_in_stored_order(batch_size: int) -> None:
    batches = in_order(FEATURES, TRUTH, batch_size)
    expected = [list(range(PICTURES))[start : start + batch_size] for start in range(0, PICTURES, batch_size)]
    assert rows(batches) == rows(batches) == expected
    assert int(batches.cardinality()) == len(expected)


@settings(max_examples=8, deadline=None)
@given(batch_size=st.integers(1, PICTURES), epochs=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_every_epoch_is_shuffled_and_full_batches_only(batch_size: int, epochs: int, seed: int) -> None:
    batches = shuffled(FEATURES, TRUTH, batch_size, epochs, seed)
    numbers, steps = rows(batches), PICTURES // batch_size
    assert [len(batch) for batch in numbers] == [batch_size] * steps * epochs
    assert int(batches.cardinality()) == steps * epochs
    for epoch in range(epochs):
        seen = {number for batch in numbers[epoch * steps : (epoch + 1) * steps] for number in batch}
        assert len(seen) == steps * batch_size
    assert rows(batches) == rows(shuffled(FEATURES, TRUTH, batch_size, epochs, seed)) == numbers


def test_epochs_and_seeds_have_their_own_orders() -> None:
    one, other = (rows(shuffled(FEATURES, TRUTH, PICTURES, 3, seed)) for seed in (0, 1))
    assert len({tuple(order) for order in one + other}) == 6


def test_a_file_mapped_for_reading_can_be_trained_on(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", FEATURES)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    assert rows(in_order(mapped, TRUTH, 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]
    assert rows(shuffled(mapped, TRUTH, 4, 1, 0)) == rows(shuffled(FEATURES, TRUTH, 4, 1, 0))


@pytest.mark.parametrize("batch_size", [8, 64])
def test_features_are_extracted_in_stored_order(shards_folder: Path, tmp_path: Path, batch_size: int) -> None:
    data = Shards.read(shards_folder)
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    first = keras.layers.Rescaling(1 / 255, name="block1_out")(inputs)
    backbone = keras.Model(inputs, keras.layers.Rescaling(2, name="block2_out")(first))
    extraction = extract(backbone, data, batch_size, tf.distribute.get_strategy(), tmp_path / "features")
    stored = extraction.stored
    assert (extraction.layers, extraction.widths) == (["block1_out", "block2_out"], [1, 1])
    np.testing.assert_array_equal(extraction.of("block2_out")["train"], stored["train"][:, 1:])
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == ["train.npy", "validation.npy"]
    for split in ("train", "validation"):
        pictures = np.concatenate(list(data.pictures(split, 100))) / 255
        expected = pictures.mean(axis=(1, 2)) * [1, 2]
        np.testing.assert_allclose(stored[split], expected, rtol=1e-3)  # half precision
        np.testing.assert_array_equal(np.load(tmp_path / "features" / f"{split}.npy"), stored[split])
