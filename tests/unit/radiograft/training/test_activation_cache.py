"""Training on cached activations gives the same result as training on images."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.training import Recipe
from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import SplitModel, pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.predictor import Predictor
from radiograft.training import activation_cache
from radiograft.training.activation_cache import CachedActivations, bytes_needed, cache_activations, should_cache
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import TrainingData, data_from_activations
from radiograft.training.history import History
from radiograft.training.train_config import TrainConfig
from radiograft.training.trainer import train

CUT_OFF = "conv5_block16_2_conv"
BATCH, EPOCHS, SEED = 8, 3, 5


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    features = build_feature_extractor(build_backbone("densenet121", "none", "", 32))
    classifier = build_classifier(features.output.shape[-1], 3, dense_units=8, dropout=0.0, l2=1e-3, seed=0)
    model = attach_classifier(features, classifier)
    unfreeze_from(model, CUT_OFF)
    return model


@pytest.fixture(scope="module")
def data(shards_folder: Path) -> Shards:
    return Shards.read(shards_folder)


def cache(cut: SplitModel, data: Shards, folder: Path, copies: int, split: str = "train") -> CachedActivations:
    prefix = Predictor(cut.prefix, tf.distribute.get_strategy())
    return cache_activations(prefix, data, split, copies=copies, batch_size=7, seed=SEED, folder=folder)


def train_network(model: keras.Model, training_data: TrainingData, logs: Path) -> History:
    config = TrainConfig("test", "adam", learning_rate=1e-3, recipe=Recipe(), epochs=EPOCHS, patience=9, logs=logs)
    return train(model, training_data, config, tf.distribute.get_strategy(), Checkpoints(""))


def test_training_on_cached_activations_matches_training_on_images(data: Shards, tmp_path: Path) -> None:
    """The same copies in the same order: as activations through the suffix, and as images through the whole network."""
    cached = network()
    cut = split_model(pool_before_concat(cached), CUT_OFF)
    copies, held_out = cache(cut, data, tmp_path / "t", 2), cache(cut, data, tmp_path / "v", 0, "validation")
    training_data = data_from_activations(copies, held_out, BATCH, SEED, replicas=1)
    cached_history = train_network(cut.suffix, training_data, tmp_path / "a")

    images = [np.concatenate(list(data.copies("train", copy, 7, SEED).as_numpy_iterator())) for copy in range(2)]
    as_images = [
        (images[epoch % 2][rows], copies.truth[rows])
        for epoch in range(EPOCHS)
        for rows in np.split(np.random.default_rng([SEED, epoch]).permutation(len(copies.truth))[:56], 7)
    ]
    stream = tf.data.Dataset.from_tensor_slices(tuple(np.stack(part) for part in zip(*as_images, strict=True)))
    online = network()
    online_data = training_data._replace(batches=lambda epochs: stream, validation=data.images("validation", BATCH))
    online_history = train_network(online, online_data, tmp_path / "b")

    for actual, expected in zip(cached_history.epochs, online_history.epochs, strict=True):
        assert actual["loss"] == pytest.approx(expected["loss"], rel=2e-3)  # activations have half precision
        assert actual["val_loss"] == pytest.approx(expected["val_loss"], rel=2e-3)
    for actual, expected in zip(cached.get_weights(), online.get_weights(), strict=True):
        np.testing.assert_allclose(actual, expected, atol=5e-3)


def test_cache_activations_same_seed_gives_same_views(data: Shards, tmp_path: Path) -> None:
    cut = split_model(network(), CUT_OFF)
    first, again = (cache(cut, data, tmp_path / name, 2) for name in "ab")
    for one, two in zip(first.parts, again.parts, strict=True):
        assert one.dtype == np.float16
        assert one.shape[:2] == (2, len(data.split("train")))
        np.testing.assert_array_equal(one, two)
        assert np.abs(one[0].astype("float32") - one[1]).max() > 0.01


def test_training_alternates_views_and_shows_each_image_once() -> None:
    part = np.arange(12, dtype="float16").reshape(2, 6, 1)
    activations = CachedActivations([part], np.zeros((6, 1), dtype="float32"), list("abcdef"))
    epochs = [
        np.concatenate([values[:, 0] for values, _ in activations.training(2, range(e, e + 1), 0).as_numpy_iterator()])
        for e in range(3)
    ]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
    assert list(epochs[0]) != list(epochs[2])
    consecutive = [values[:, 0] for values, _ in activations.training(2, range(3), 0).as_numpy_iterator()]
    np.testing.assert_array_equal(np.concatenate(consecutive), np.concatenate(epochs))


@settings(max_examples=15, deadline=None)
@given(
    images=st.integers(1, 9),
    copies=st.integers(1, 3),
    batch_size=st.integers(1, 10),
    first=st.integers(0, 3),
    seed=st.integers(0, 2**31),
)
def test_training_batches_match_training_ids(images: int, copies: int, batch_size: int, first: int, seed: int) -> None:
    """Row p of copy v contains 100 v + p in two tensors; incomplete batches are dropped."""
    numbers = 100 * np.arange(copies)[:, None] + np.arange(images)
    parts = [numbers[..., None].astype("float16"), np.repeat(numbers[..., None], 2, axis=2).astype("float16")]
    activations = CachedActivations(
        parts, np.arange(images, dtype="float32")[:, None], [f"p{n}" for n in range(images)]
    )
    stream, epochs, steps = (
        activations.training(batch_size, range(first, 4), seed),
        range(first, 4),
        images // batch_size,
    )
    assert int(stream.cardinality()) == len(epochs) * steps
    positions = ((epoch, step) for epoch in epochs for step in range(steps))
    for (epoch, step), ((one, two), truth) in zip(positions, stream.as_numpy_iterator(), strict=True):
        ids = activations.training_ids(batch_size, epoch, step, seed)
        assert ids == [f"p{int(row)}" for row in truth[:, 0]]
        assert len(set(ids)) == batch_size
        np.testing.assert_array_equal(one[:, 0], 100 * (epoch % copies) + truth[:, 0])
        np.testing.assert_array_equal(two, np.repeat(one, 2, axis=1))


@pytest.mark.parametrize("batch_size", [1, 4, 6, 9])
def test_in_order_yields_all_images_in_stored_order(batch_size: int) -> None:
    part = np.arange(24, dtype="float16").reshape(2, 6, 2)
    activations = CachedActivations([part, part[..., :1]], np.zeros((6, 1), dtype="float32"), list("abcdef"))
    batches = list(activations.frontier(batch_size, copy=1).as_numpy_iterator())
    assert int(activations.in_order(batch_size).cardinality()) == len(batches) == -(-6 // batch_size)
    for number, expected in enumerate((part[1], part[1, :, :1])):
        np.testing.assert_array_equal(np.concatenate([batch[number] for batch in batches]), expected)
    single = CachedActivations([part], activations.truth, activations.image_ids).in_order(batch_size)
    np.testing.assert_array_equal(np.concatenate(list(single.as_numpy_iterator())), part[0])


def test_cache_activations_number_above_float16_raises(data: Shards, tmp_path: Path) -> None:
    images = keras.Input((32, 32, 1), dtype="uint8")
    huge = Predictor(keras.Model(images, [keras.layers.Rescaling(1e6)(images)]), tf.distribute.get_strategy())
    with pytest.raises(FloatingPointError, match=r"cached activations must stay below 65504, got .*; choose train_aug"):
        cache_activations(huge, data, "train", copies=1, batch_size=8, seed=0, folder=tmp_path)


class TestShouldCache:
    def test_bytes_needed_counts_training_views_and_validation(self, data: Shards) -> None:
        sizes = len(data.split("train")), len(data.split("validation"))
        assert bytes_needed(100, data, 4) == 100 * (4 * sizes[0] + sizes[1])

    @pytest.mark.parametrize(("needed", "cached"), [(50, True), (51, False)])
    def test_should_cache_auto_uses_at_most_half_of_disk(
        self, needed: int, cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            activation_cache.shutil, "disk_usage", lambda path: activation_cache.shutil._ntuple_diskusage(0, 0, 100)
        )
        decision, reason = should_cache("auto", needed, tmp_path)
        assert decision is cached
        assert reason.endswith("MB free, and auto takes at most half")

    def test_should_cache_cached_larger_than_disk_raises(self, tmp_path: Path) -> None:
        assert should_cache("online", 10**18, tmp_path) == (False, "train_augmentation=online")
        assert should_cache("cached", 1, tmp_path)[0] is True
        with pytest.raises(
            OSError, match="train_augmentation=cached must fit on the scratch disk: the cache needs 1,000"
        ):
            should_cache("cached", 10**18, tmp_path)
