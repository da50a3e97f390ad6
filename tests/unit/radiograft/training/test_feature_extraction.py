"""Feature extraction: pooled features in stored order, resumed after an interruption."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models.cut_offs import build_tap_model
from radiograft.models.predictor import Predictor
from radiograft.training import feature_extraction, frozen_engines
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.feature_extraction import FeatureSet, extract_features
from tests.helpers.stages import NO_CHECKPOINTS

BATCH = 8  # eight batches of 58 training images, five of 39 validation images


@pytest.fixture(scope="module")
def data(shards_folder: Path) -> Shards:
    return Shards.read(shards_folder)


def backbone(factor: float = 2.0) -> keras.Model:
    """Returns two layers of one channel: the image scaled to 0 to 1, and its product with a factor."""
    inputs = keras.Input((32, 32, 1), dtype="uint8")
    first = keras.layers.Rescaling(1 / 255, name="block1_out")(inputs)
    weighted = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer=keras.initializers.Constant(factor))
    weighted.name = "block2_out"
    return keras.Model(inputs, weighted(first))


def extraction(
    data: Shards, folder: Path, checkpoints: Checkpoints = NO_CHECKPOINTS, batch_size: int = BATCH, factor: float = 2.0
) -> FeatureSet:
    return extract_features(
        backbone(factor),
        ("block1_out", "block2_out"),
        data,
        batch_size,
        tf.distribute.get_strategy(),
        folder,
        checkpoints,
    )


@pytest.mark.parametrize("batch_size", [8, 64])
def test_extract_features_keeps_stored_order(data: Shards, tmp_path: Path, batch_size: int) -> None:
    features = extraction(data, tmp_path / "features", batch_size=batch_size)
    assert features.columns == {"block1_out": (slice(0, 1),), "block2_out": (slice(1, 2),)}
    assert sorted(path.name for path in (tmp_path / "features").iterdir()) == ["train.npy", "validation.npy"]
    for split in ("train", "validation"):
        images = np.concatenate(list(data.images(split, 100))) / 255
        expected = images.mean(axis=(1, 2)) * [1, 2]
        np.testing.assert_allclose(features.stored[split], expected, rtol=1e-3)  # half precision
        np.testing.assert_array_equal(np.load(tmp_path / "features" / f"{split}.npy"), features.stored[split])


def test_extract_features_stores_repeated_channels_once(data: Shards, tmp_path: Path) -> None:
    """Fails if a layer that joins others is stored again, or its channels are joined in another order."""
    image = keras.Input((32, 32, 1), dtype="uint8")
    one = keras.layers.Rescaling(1 / 255, name="one")(image)
    two = keras.layers.Conv2D(2, 1, name="two")(one)
    joined = keras.layers.Concatenate(name="joined")([one, two])
    three = keras.layers.Conv2D(3, 1, name="three")(joined)
    turned = keras.layers.Concatenate(name="turned")([three, joined])
    names = ["two", "joined", "three", "turned"]
    network = keras.Model(image, turned)
    features = extract_features(network, names, data, BATCH, tf.distribute.get_strategy(), tmp_path, NO_CHECKPOINTS)
    assert features.stored["train"].shape[1] == 6
    assert features.columns["joined"] == (slice(2, 3), slice(0, 2))
    assert features.columns["turned"] == (slice(3, 6), slice(2, 3), slice(0, 2))
    expected = np.concatenate(
        list(
            Predictor(build_tap_model(network, names), tf.distribute.get_strategy()).iter_outputs(
                data.images("validation", BATCH)
            )
        )
    ).astype("float16")
    for name, part in zip(names, np.split(expected, [2, 5, 8], axis=1), strict=True):
        np.testing.assert_array_equal(features.layer(name, "validation"), part, err_msg=name)


def test_of_returns_activations_with_one_view(data: Shards, tmp_path: Path) -> None:
    features = extraction(data, tmp_path)
    activations = features.of(["block2_out"], "train", data)
    np.testing.assert_array_equal(activations.parts[0], features.stored["train"][None, :, 1:])
    np.testing.assert_array_equal(activations.truth, data.truth("train"))
    assert activations.image_ids == data.split("train")["image_id"].tolist()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches that the network processed. The tenth is interrupted; each has its own checkpoint."""
    sizes: list[int] = []

    class Interrupted(Predictor):
        def iter_outputs(self, batches: tf.data.Dataset) -> Iterator[np.ndarray]:
            for output in super().iter_outputs(batches):
                sizes.append(len(output))
                if len(sizes) == 10:
                    raise KeyboardInterrupt
                yield output

    monkeypatch.setattr(frozen_engines, "Predictor", Interrupted)
    monkeypatch.setattr(feature_extraction, "BATCHES_PER_PIECE", 1)
    return sizes


def test_extract_features_after_interruption_resumes(data: Shards, tmp_path: Path, counted: list[int]) -> None:
    checkpoints = Checkpoints(str(tmp_path / "kept"))
    with pytest.raises(KeyboardInterrupt):
        extraction(data, tmp_path / "first", checkpoints)
    assert counted == [8] * 7 + [2] + [8] * 2
    resumed = extraction(data, tmp_path / "resumed", checkpoints)
    assert counted[10:] == [8] * 3 + [7]  # the first nine batches come from checkpoints
    uninterrupted = extraction(data, tmp_path / "uninterrupted")
    for split in ("train", "validation"):
        np.testing.assert_array_equal(resumed.stored[split], uninterrupted.stored[split])


@pytest.mark.parametrize("other", ["weights", "data", "batch size"])
def test_extract_features_other_inputs_ignore_checkpoints(
    data: Shards, tmp_path: Path, other: str, counted: list[int]
) -> None:
    checkpoints = Checkpoints(str(tmp_path / "kept"))
    with pytest.raises(KeyboardInterrupt):
        extraction(data, tmp_path / "first", checkpoints)
    renamed = dataclasses.replace(data, summary=data.summary | {"fingerprint": "other"})
    extraction(
        renamed if other == "data" else data,
        tmp_path / "resumed",
        checkpoints,
        batch_size=9 if other == "batch size" else BATCH,
        factor=3.0 if other == "weights" else 2.0,
    )
    assert sum(counted[10:]) == 58 + 39


def test_extract_features_recomputes_from_corrupt_checkpoint_on(
    data: Shards, tmp_path: Path, counted: list[int]
) -> None:
    checkpoints = Checkpoints(str(tmp_path / "kept"))
    with pytest.raises(KeyboardInterrupt):
        extraction(data, tmp_path / "first", checkpoints)
    (piece,) = (tmp_path / "kept" / "train").glob("*/00000005.state")
    piece.write_bytes(piece.read_bytes()[:-1])
    resumed = extraction(data, tmp_path / "resumed", checkpoints)
    assert counted[10:] == [8] * 3 + [2] + [8] * 3 + [7]
    np.testing.assert_array_equal(resumed.stored["train"], extraction(data, tmp_path / "uninterrupted").stored["train"])


def with_maps(data: Shards, folder: Path, factor: float = 2.0) -> FeatureSet:
    layers, strategy = ("block1_out", "block2_out"), tf.distribute.get_strategy()
    model, maps = backbone(factor), folder / "maps"
    return extract_features(model, layers, data, BATCH, strategy, folder, NO_CHECKPOINTS, maps)


def test_extract_features_with_maps_stores_last_activation_of_every_image(data: Shards, tmp_path: Path) -> None:
    features = with_maps(data, tmp_path)
    for split in ("train", "validation"):
        images = np.concatenate(list(data.images(split, 100))) / 255
        activations = features.last_map(split, data)
        np.testing.assert_allclose(activations.parts[0][0], 2 * images, atol=2e-3)
        assert activations.image_ids == data.split(split)["image_id"].tolist()
        pooled = activations.parts[0][0].astype("float32").mean(axis=(1, 2))
        np.testing.assert_allclose(features.stored[split][:, 1:], pooled, atol=2e-3)
    assert extraction(data, tmp_path / "without").maps == {}


def test_extract_features_activation_beyond_half_precision_raises(data: Shards, tmp_path: Path) -> None:
    """The mean of an image is below the limit, the brightest pixel is not."""
    with pytest.raises(FloatingPointError, match=r"the last activation must stay below 65504 .*model_pooling=average"):
        with_maps(data, tmp_path, factor=90_000.0)


def test_extract_features_maps_that_do_not_fit_raise(
    data: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match=r"must fit on the disk for a head .*model_pooling=average"):
        with_maps(data, tmp_path)
