"""Training on cached activations is training on the images, at the price of the suffix."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.recipe import Recipe
from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.early_pooling import pool_before_concat
from radiograft.models.graph_split import SplitModel, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.predictor import Predictor
from radiograft.training import activation_cache
from radiograft.training.activation_cache import CachedActivations, bytes_needed, cache_activations, should_cache
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import TrainingData, data_from_activations
from radiograft.training.history import History
from radiograft.training.trainer import TrainConfig, train

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


def stored(cut: SplitModel, data: Shards, folder: Path, views: int, split: str = "train") -> CachedActivations:
    prefix = Predictor(cut.prefix, tf.distribute.get_strategy())
    return cache_activations(prefix, data, split, views=views, batch_size=7, seed=SEED, folder=folder)


def fit(model: keras.Model, material: TrainingData, logs: Path) -> History:
    plan = TrainConfig("test", "adam", learning_rate=1e-3, recipe=Recipe(), epochs=EPOCHS, patience=9, logs=logs)
    return train(model, material, plan, tf.distribute.get_strategy(), Checkpoints(""))


def test_cached_epochs_are_online_epochs(data: Shards, tmp_path: Path) -> None:
    """The same order and the same views, once as activations through the suffix, once as images through it all."""
    cached = network()
    cut = split_model(pool_before_concat(cached), CUT_OFF)
    views, held_out = stored(cut, data, tmp_path / "t", 2), stored(cut, data, tmp_path / "v", 0, "validation")
    material = data_from_activations(views, held_out, BATCH, SEED, replicas=1)
    fast = fit(cut.suffix, material, tmp_path / "a")

    images = [np.concatenate(list(data.views("train", view, 7, SEED).as_numpy_iterator())) for view in range(2)]
    as_images = [
        (images[epoch % 2][rows], views.truth[rows])
        for epoch in range(EPOCHS)
        for rows in np.split(np.random.default_rng([SEED, epoch]).permutation(len(views.truth))[:56], 7)
    ]
    stream = tf.data.Dataset.from_tensor_slices(tuple(np.stack(part) for part in zip(*as_images, strict=True)))
    online = network()
    shown = material._replace(batches=lambda epochs: stream, validation=data.images("validation", BATCH))
    slow = fit(online, shown, tmp_path / "b")

    for quick, whole in zip(fast.epochs, slow.epochs, strict=True):
        assert quick["loss"] == pytest.approx(whole["loss"], rel=2e-3)  # activations are kept in half precision
        assert quick["val_loss"] == pytest.approx(whole["val_loss"], rel=2e-3)
    for mine, theirs in zip(cached.get_weights(), online.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=5e-3)


def test_a_view_depends_on_seed_image_and_view_alone(data: Shards, tmp_path: Path) -> None:
    cut = split_model(network(), CUT_OFF)
    first, again = (stored(cut, data, tmp_path / name, 2) for name in "ab")
    for one, two in zip(first.parts, again.parts, strict=True):
        assert one.dtype == np.float16
        assert one.shape[:2] == (2, len(data.split("train")))
        np.testing.assert_array_equal(one, two)
        assert np.abs(one[0].astype("float32") - one[1]).max() > 0.01


def test_epochs_take_turns_with_the_views_and_show_every_image_once() -> None:
    part = np.arange(12, dtype="float16").reshape(2, 6, 1)
    kept = CachedActivations([part], np.zeros((6, 1), dtype="float32"), list("abcdef"))
    epochs = [
        np.concatenate([values[:, 0] for values, _ in kept.training(2, range(e, e + 1), 0).as_numpy_iterator()])
        for e in range(3)
    ]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
    assert list(epochs[0]) != list(epochs[2])
    on_end = [values[:, 0] for values, _ in kept.training(2, range(3), 0).as_numpy_iterator()]
    np.testing.assert_array_equal(np.concatenate(on_end), np.concatenate(epochs))


@settings(max_examples=15, deadline=None)
@given(
    images=st.integers(1, 9),
    views=st.integers(1, 3),
    batch_size=st.integers(1, 10),
    first=st.integers(0, 3),
    seed=st.integers(0, 2**31),
)
def test_batches_are_what_their_ids_say(images: int, views: int, batch_size: int, first: int, seed: int) -> None:
    """Row p of view v holds 100 v + p twice, in two tensors; what does not fill a batch is left out."""
    numbers = 100 * np.arange(views)[:, None] + np.arange(images)
    parts = [numbers[..., None].astype("float16"), np.repeat(numbers[..., None], 2, axis=2).astype("float16")]
    kept = CachedActivations(parts, np.arange(images, dtype="float32")[:, None], [f"p{n}" for n in range(images)])
    stream, epochs, steps = kept.training(batch_size, range(first, 4), seed), range(first, 4), images // batch_size
    assert int(stream.cardinality()) == len(epochs) * steps
    places = ((epoch, step) for epoch in epochs for step in range(steps))
    for (epoch, step), ((one, two), truth) in zip(places, stream.as_numpy_iterator(), strict=True):
        ids = kept.training_ids(batch_size, epoch, step, seed)
        assert ids == [f"p{int(row)}" for row in truth[:, 0]]
        assert len(set(ids)) == batch_size
        np.testing.assert_array_equal(one[:, 0], 100 * (epoch % views) + truth[:, 0])
        np.testing.assert_array_equal(two, np.repeat(one, 2, axis=1))


@pytest.mark.parametrize("batch_size", [1, 4, 6, 9])
def test_one_pass_in_stored_order_leaves_nothing_out(batch_size: int) -> None:
    part = np.arange(24, dtype="float16").reshape(2, 6, 2)
    kept = CachedActivations([part, part[..., :1]], np.zeros((6, 1), dtype="float32"), list("abcdef"))
    batches = list(kept.in_order(batch_size, view=1).as_numpy_iterator())
    assert int(kept.in_order(batch_size).cardinality()) == len(batches) == -(-6 // batch_size)
    for number, expected in enumerate((part[1], part[1, :, :1])):
        np.testing.assert_array_equal(np.concatenate([batch[number] for batch in batches]), expected)
    alone = CachedActivations([part], kept.truth, kept.image_ids).in_order(batch_size)
    np.testing.assert_array_equal(np.concatenate(list(alone.as_numpy_iterator())), part[0])


def test_an_activation_beyond_half_precision_is_refused(data: Shards, tmp_path: Path) -> None:
    images = keras.Input((32, 32, 1), dtype="uint8")
    huge = Predictor(keras.Model(images, [keras.layers.Rescaling(1e6)(images)]), tf.distribute.get_strategy())
    with pytest.raises(FloatingPointError, match=r"cached activations must stay below 65504, got .*; choose train_aug"):
        cache_activations(huge, data, "train", views=1, batch_size=8, seed=0, folder=tmp_path)


class TestChoice:
    def test_the_cache_holds_each_training_view_and_validation_once(self, data: Shards) -> None:
        sizes = len(data.split("train")), len(data.split("validation"))
        assert bytes_needed(100, data, 4) == 100 * (4 * sizes[0] + sizes[1])

    @pytest.mark.parametrize(("needed", "cached"), [(50, True), (51, False)])
    def test_auto_takes_at_most_half_of_the_disk(
        self, needed: int, cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            activation_cache.shutil, "disk_usage", lambda path: activation_cache.shutil._ntuple_diskusage(0, 0, 100)
        )
        chosen, reason = should_cache("auto", needed, tmp_path)
        assert chosen is cached
        assert reason.endswith("MB free, and auto takes at most half")

    def test_a_cache_larger_than_the_disk_is_refused(self, tmp_path: Path) -> None:
        assert should_cache("online", 10**18, tmp_path) == (False, "train_augmentation=online")
        assert should_cache("cached", 1, tmp_path)[0] is True
        with pytest.raises(
            OSError, match="train_augmentation=cached must fit on the scratch disk: the cache needs 1,000"
        ):
            should_cache("cached", 10**18, tmp_path)
