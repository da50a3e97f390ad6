"""Weights of torchvision: networks compute what PyTorch computes, checkpoints are loaded or refused."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import pytest

from radiograft.backbones import get_backbone
from radiograft.backbones.torch_layers import set_torch_weights
from radiograft.models.backbone import build_backbone
from tests.unit.radiograft.storage.test_torch_checkpoint import state_dict, tensor_opcodes
from tests.unit.radiograft.storage.test_torch_zip import zip_checkpoint, zip_storage


def gray(size: int, count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 1), dtype=np.uint8)


def torch_tensors(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """Makes the random state dict for which the reference results were computed."""
    return {name: _torch_tensor(name, shape, shapes) for name, shape in shapes.items() if shape}


def _torch_tensor(name: str, shape: list[int], shapes: dict[str, list[int]]) -> np.ndarray:
    random, (layer, _, part) = np.random.default_rng(zlib.crc32(name.encode())), name.rpartition(".")
    if f"{layer}.running_mean" in shapes:
        low_high = {"weight": (0.5, 1.0), "running_var": (0.5, 1.5)}
        values = random.uniform(*low_high[part], shape) if part in low_high else 0.1 * random.standard_normal(shape)
    elif len(shape) > 1:
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = 0.05 * random.standard_normal(shape)
    return values.astype("float32")


@pytest.mark.parametrize("name", ["alexnet", "densenet121", "googlenet", "vgg16"])
def test_network_matches_torchvision(name: str, test_data: Path) -> None:
    shapes = json.loads((test_data / "torch_state_dict_shapes.json").read_text())[name]
    reference = np.load(test_data / "torchvision_reference.npz")
    spec = get_backbone(name)
    assert spec.torchvision is not None
    model = spec.build(include_top=False, weights=None, input_shape=(224, 224, 3))
    set_torch_weights(model, spec.torchvision.names, torch_tensors(shapes))
    images = (reference["pictures"] / 255 - reference["mean"]) / reference["std"]
    pooled = np.array(model(images.astype("float32"), training=False)).mean(axis=(1, 2))
    expected = reference[f"{name}_pooled"]
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_set_torch_weights_unfit_state_dict_raises_and_changes_nothing() -> None:
    spec = get_backbone("squeezenet")
    assert spec.torchvision is not None
    model = spec.build(weights=None)
    before = model.get_weights()
    tensors = {"features.0.weight": np.zeros((64, 3, 3, 3)), "features.0.bias": np.zeros(63)}
    with pytest.raises(ValueError, match=r"the 50 tensors of squeezenet, but 48 are missing \(such as features\.3\."):
        set_torch_weights(model, spec.torchvision.names, tensors)
    with pytest.raises(
        ValueError, match=r"1 have another shape \(such as features\.0\.bias \[63\] instead of \[64\]\)"
    ):
        set_torch_weights(model, spec.torchvision.names, tensors)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def old_name(name: str) -> str:
    """Returns the name that DenseNet's tensors had before PyTorch 0.4, with the prefix of DataParallel."""
    return "module." + name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2.")


@pytest.mark.parametrize("rename", [str, old_name])
def test_build_backbone_torch_checkpoint_is_loaded(rename: Callable[[str], str], tmp_path: Path) -> None:
    spec = get_backbone("densenet121")
    assert spec.torchvision is not None
    keras.utils.set_random_seed(4)
    expected = spec.build(include_top=False, weights=None, input_shape=(32, 32, 3))
    tensors = {rename(name): array for name, array in torch_state(expected, spec.torchvision.names).items()}
    write_torch_zip(tmp_path / "weights.pth", tensors)
    model = build_backbone("densenet121", str(tmp_path / "weights.pth"), "", 32)
    for one, other in zip(expected.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_build_backbone_torch_checkpoint_brings_its_normalization(tmp_path: Path) -> None:
    """Keras's VGG-16 expects BGR from 0 to 255 less the mean; torchvision's expects mean and deviation."""
    spec = get_backbone("vgg16")
    assert spec.torchvision is not None
    original = spec.build(include_top=False, weights=None, input_shape=(32, 32, 3))
    write_torch_zip(tmp_path / "vgg16.pt", torch_state(original, spec.torchvision.names))
    images = gray(32)
    color = (np.repeat(images, 3, axis=-1) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    model = build_backbone("vgg16", str(tmp_path / "vgg16.pt"), "", 32)
    np.testing.assert_allclose(model(images), original(color.astype("float32")), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet50", "it is a PyTorch checkpoint, whose network is another one; give a file of Keras"),
        ("squeezenet", r"the 50 tensors of squeezenet, but 49 are missing .* and 1 have another shape"),
    ],
)
def test_build_backbone_unfit_torch_checkpoint_raises(name: str, message: str, tmp_path: Path) -> None:
    write_torch_zip(tmp_path / "other.pth", {"features.0.bias": np.zeros(3, "float32")})
    with pytest.raises(
        ValueError, match=f"model_weights must fit {name} without its classifier, .*other.pth.*{message}"
    ):
        build_backbone(name, str(tmp_path / "other.pth"), "", 64)


def torch_state(model: keras.Model, names: Sequence[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Returns a network's weights as PyTorch keeps them."""
    state = {}
    for layer, prefix in names:
        arrays = model.get_layer(layer).get_weights()
        parts = ("weight", "bias", "running_mean", "running_var")
        for part, array in zip(parts, arrays, strict=False):
            state[f"{prefix}.{part}"] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    return state


def write_torch_zip(path: Path, tensors: dict[str, np.ndarray]) -> None:
    keys = {name: str(number) for number, name in enumerate(tensors)}
    opcodes = {
        name: tensor_opcodes(
            zip_storage("FloatStorage", keys[name], array.size),
            0,
            array.shape,
            tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)),
        )
        for name, array in tensors.items()
    }
    storages = {keys[name]: np.ascontiguousarray(array).tobytes() for name, array in tensors.items()}
    path.write_bytes(zip_checkpoint(state_dict(opcodes), storages))
