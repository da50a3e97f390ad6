"""Training on cached activations is training on the pictures, at the price of the suffix."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.modeling import activations
from components.modeling.activations import Activations, bytes_needed, cache, choose
from components.modeling.backbones import build_backbone
from components.modeling.early_pooling import pool_branches
from components.modeling.network import attach_classifier, build_classifier, pooled, unfreeze_from
from components.modeling.split import Split, split
from components.modeling.training import Plan, train
from components.shards import Shards

CUT_OFF = "conv5_block16_2_conv"
BATCH, EPOCHS, SEED = 8, 3, 5


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    features = pooled(build_backbone("densenet121", "none", "", 32))
    classifier = build_classifier(features.output.shape[-1], 3, dense_units=8, dropout=0.0, l2=1e-3, seed=0)
    model = attach_classifier(features, classifier)
    unfreeze_from(model, CUT_OFF)
    return model


@pytest.fixture(scope="module")
def data(shards_folder: Path) -> Shards:
    return Shards.read(shards_folder)


def stored(cut: Split, data: Shards, folder: Path, views: int, split: str = "train") -> Activations:
    strategy = tf.distribute.get_strategy()
    return cache(cut.prefix, data, split, views=views, batch_size=7, seed=SEED, strategy=strategy, folder=folder)


def plan(folder: Path, data: Shards) -> Plan:
    steps = len(data.split("train")) // BATCH
    return Plan("test", "adam", learning_rate=1e-3, epochs=EPOCHS, steps=steps, patience=9, logs=folder)


def test_cached_epochs_are_online_epochs(data: Shards, tmp_path: Path) -> None:
    """The same order and the same views, once as activations through the suffix, once as pictures through it all."""
    cached = network()
    cut = split(pool_branches(cached), CUT_OFF)
    views, held_out = stored(cut, data, tmp_path / "t", 2), stored(cut, data, tmp_path / "v", 0, "validation")
    fast = train(cut.suffix, views.training(BATCH, EPOCHS, SEED), held_out.in_order(BATCH), plan(tmp_path / "a", data))

    pictures = np.stack([np.concatenate(list(data.views("train", v, 7, SEED).as_numpy_iterator())) for v in range(2)])
    shown = Activations([pictures], data.truth("train"))
    as_pictures = [
        (tf.constant(pictures[epoch % 2][rows]), tf.constant(shown.truth[rows]))
        for epoch in range(EPOCHS)
        for rows in np.split(np.random.default_rng([SEED, epoch]).permutation(len(shown.truth))[:56], 7)
    ]
    online = network()
    stream = tf.data.Dataset.from_tensor_slices(tuple(np.stack(part) for part in zip(*as_pictures, strict=True)))
    slow = train(online, stream, data.labelled("validation", BATCH), plan(tmp_path / "b", data))

    for quick, whole in zip(fast.epochs, slow.epochs, strict=True):
        assert quick["loss"] == pytest.approx(whole["loss"], rel=2e-3)  # activations are kept in half precision
        assert quick["val_loss"] == pytest.approx(whole["val_loss"], rel=2e-3)
    for mine, theirs in zip(cached.get_weights(), online.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=5e-3)


def test_a_view_depends_on_seed_picture_and_view_alone(data: Shards, tmp_path: Path) -> None:
    cut = split(network(), CUT_OFF)
    first, again = (stored(cut, data, tmp_path / name, 2) for name in "ab")
    for one, two in zip(first.parts, again.parts, strict=True):
        assert one.dtype == np.float16
        assert one.shape[:2] == (2, len(data.split("train")))
        np.testing.assert_array_equal(one, two)
        assert np.abs(one[0].astype("float32") - one[1]).max() > 0.01


def test_epochs_take_turns_with_the_views_and_show_every_picture_once() -> None:
    part = np.arange(12, dtype="float16").reshape(2, 6, 1)
    kept = Activations([part], np.zeros((6, 1), dtype="float32"))
    epochs = [
        np.concatenate([x[0].numpy()[:, 0] for x, _ in kept.training(2, 3, 0).skip(3 * e).take(3)]) for e in range(3)
    ]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11], [0, 1, 2, 3, 4, 5]]
    assert list(epochs[0]) != list(epochs[2])


def test_an_activation_beyond_half_precision_is_refused(data: Shards, tmp_path: Path) -> None:
    pictures = keras.Input((32, 32, 1), dtype="uint8")
    huge = keras.Model(pictures, [keras.layers.Rescaling(1e6)(pictures)])
    with pytest.raises(FloatingPointError, match=r"cached activations must stay below 65504, got .*; choose train_aug"):
        cache(
            huge, data, "train", views=1, batch_size=8, seed=0, strategy=tf.distribute.get_strategy(), folder=tmp_path
        )


class TestChoice:
    def test_the_cache_holds_each_training_view_and_validation_once(self, data: Shards) -> None:
        sizes = len(data.split("train")), len(data.split("validation"))
        assert bytes_needed(100, data, 4) == 100 * (4 * sizes[0] + sizes[1])

    @pytest.mark.parametrize(("needed", "cached"), [(50, True), (51, False)])
    def test_auto_takes_at_most_half_of_the_disk(
        self, needed: int, cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            activations.shutil, "disk_usage", lambda path: activations.shutil._ntuple_diskusage(0, 0, 100)
        )
        chosen, reason = choose("auto", needed, tmp_path)
        assert chosen is cached
        assert reason.endswith("MB free, and auto takes at most half")

    def test_a_cache_larger_than_the_disk_is_refused(self, tmp_path: Path) -> None:
        assert choose("online", 10**18, tmp_path) == (False, "train_augmentation=online")
        assert choose("cached", 1, tmp_path)[0] is True
        with pytest.raises(
            OSError, match="train_augmentation=cached must fit on the scratch disk: the cache needs 1,000"
        ):
            choose("cached", 10**18, tmp_path)
