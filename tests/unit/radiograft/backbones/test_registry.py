"""The registry of backbones, and that a new backbone needs one file and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from radiograft.backbones import BackboneSpec, get_backbone, list_backbones
from tests.repository import ROOT

TOY_BACKBONE = """
import keras

from radiograft.backbones.spec import IMAGENET, BackboneSpec


def toy(include_top=False, weights=None, input_tensor=None, input_shape=None):
    image = keras.Input(input_shape) if input_tensor is None else input_tensor
    inputs = keras.utils.get_source_inputs(image)
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", name="first_conv")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", name="second_conv")(x)
    return keras.Model(inputs, keras.layers.ReLU(name="end")(x), name="toy")


BACKBONES = (
    BackboneSpec(
        name="toy",
        build=toy,
        normalization=IMAGENET,
        cut_offs=("first_conv", "second_conv"),
        default_cut_off="second_conv",
        taps=("first_conv", "end"),
        min_size=8,
        stride=4,
        weights_help="choose model_weights=none",
    ),
)
"""

USE_TOY_BACKBONE = """
import sys

import radiograft.backbones

radiograft.backbones.__path__.append(sys.argv[1])

from radiograft.backbones import get_backbone, list_backbones
from radiograft.config import ExtractFeatures
from radiograft_pipelines.settings import fill_defaults, values_for

assert list_backbones()[-1] == "toy", list_backbones()
assert ExtractFeatures(model_backbone="toy", model_cut_off="first_conv").model_backbone == "toy"
assert values_for("transfer_learning", "demo", ["backbone=toy"])["model_cut_off"] == "second_conv"
demo = values_for("transfer_learning", "demo", [])
del demo["model_cut_off"]
assert fill_defaults(demo | {"model_backbone": "toy"})["model_cut_off"] == "second_conv"
for cut_off in ("top_conv", "conv5_block16_2_conv"):  # defaults of the other backbones
    try:
        ExtractFeatures(model_backbone="toy", model_cut_off=cut_off)
    except ValueError as error:
        assert "must be a layer of toy, such as second_conv" in str(error), error
    else:
        raise AssertionError(f"toy accepts {cut_off}")

import numpy as np

from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import candidate_cut_offs, last_convolution, parse_cut_offs, unfreeze_from
from radiograft.models.cut_offs import build_tap_model, check_tap, tap_widths
from radiograft.models.graph_split import split_model

spec, backbone = get_backbone("toy"), build_backbone("toy", weights="none", image_size=32)
assert backbone.output_shape == (None, 8, 8, 8)
assert last_convolution(backbone) == spec.default_cut_off
assert candidate_cut_offs(backbone, spec) == parse_cut_offs("auto", backbone, spec) == ["first_conv", "second_conv"]
assert unfreeze_from(backbone, "second_conv") == 3 * 3 * 4 * 8 + 8
(frontier,) = split_model(backbone, "second_conv").prefix.outputs
assert frontier.shape == (None, 16, 16, 4)
check_tap(spec, "first_conv")
assert tap_widths(backbone, spec.taps) == [4, 8]
features = build_tap_model(backbone, spec.taps)(np.zeros((2, 32, 32, 1), "uint8"))
assert features.shape == (2, 12)
"""


def test_list_backbones_names_all() -> None:
    assert list_backbones() == (
        "alexnet",
        "convnext_tiny",
        "densenet121",
        "densenet169",
        "densenet201",
        "efficientnet_lite0",
        "efficientnet_lite1",
        "efficientnet_lite2",
        "efficientnet_v2_b0",
        "efficientnet_v2_s",
        "googlenet",
        "inception_v3",
        "mobilenet_v2",
        "resnet50",
        "resnet101",
        "resnet152",
        "squeezenet",
        "vgg16",
    )


@pytest.mark.parametrize("name", list_backbones())
def test_get_backbone_returns_consistent_spec(name: str) -> None:
    spec = get_backbone(name)
    assert isinstance(spec, BackboneSpec)
    assert spec.name == name
    assert spec.default_cut_off == spec.cut_offs[-1]
    for names in (spec.cut_offs, spec.taps):
        assert len(set(names)) == len(names) > 1


def test_get_backbone_unknown_name_raises() -> None:
    with pytest.raises(ValueError, match=r"^model_backbone must be .* squeezenet, vgg16, got 'vgg19'$"):
        get_backbone("vgg19")


@pytest.mark.parametrize("size", [0, 16, 33, 100])
def test_check_image_size_unsupported_raises(size: int) -> None:
    get_backbone("densenet121").check_image_size(64)
    with pytest.raises(
        ValueError, match=f"^image_size must be a multiple of 32 and at least 32 for densenet121, got {size}$"
    ):
        get_backbone("densenet121").check_image_size(size)


def test_new_backbone_needs_one_file(tmp_path: Path) -> None:
    """Fails if settings, default cut-off, building, tapping or cutting know the backbones by name."""
    (tmp_path / "toy.py").write_text(TOY_BACKBONE)
    command = [sys.executable, "-c", USE_TOY_BACKBONE, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_backbones_in_method_document_are_those_of_registry() -> None:
    text = (ROOT / "docs" / "explanation" / "method.md").read_text()
    table = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `")]
    rows = [tuple(cell.strip(" `") for cell in row) for row in table]
    specs = [get_backbone(name) for name in list_backbones()]
    expected = [(spec.name, spec.default_cut_off, f"{spec.min_size}, {spec.stride}") for spec in specs]
    assert [row for row in rows if row[0] in list_backbones()] == expected
