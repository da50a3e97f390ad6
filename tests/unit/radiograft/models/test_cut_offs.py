"""Parsing `model_cut_off`, and the candidates of a cut-off search."""

from __future__ import annotations

import dataclasses

import keras
import pytest

from radiograft.backbones import get_backbone
from radiograft.models.cut_offs import candidate_cut_offs, parse_cut_offs
from tests.helpers.networks import HEAD, network

DENSENET = [*(f"conv5_block{block}_1_conv" for block in range(2, 17)), "conv5_block16_2_conv"]
LITE = [
    *("block2a_expand_conv", "block2b_expand_conv", "block3a_expand_conv", "block3b_expand_conv"),
    *("block4a_expand_conv", "block4b_expand_conv", "block4c_expand_conv", "block5a_expand_conv"),
    *("block5b_expand_conv", "block5c_expand_conv", "block6a_expand_conv", "block6b_expand_conv"),
    *("block6c_expand_conv", "block6d_expand_conv", "block7a_expand_conv", "top_conv"),
]


@pytest.mark.parametrize(("name", "expected"), [("densenet121", DENSENET), ("efficientnet_lite0", LITE)])
def test_parse_cut_offs_auto_returns_last_blocks_and_last_convolution(name: str, expected: list[str]) -> None:
    assert candidate_cut_offs(network(name), get_backbone(name)) == expected
    assert parse_cut_offs("auto", network(name), get_backbone(name)) == expected


def test_candidate_cut_offs_of_small_network_are_fewer() -> None:
    inputs = keras.Input((8, 8, 1))
    outputs = keras.layers.Conv2D(2, 1, name="stem_conv")(inputs)
    outputs = keras.layers.BatchNormalization(name="block1a_bn")(outputs)
    outputs = keras.layers.Conv2D(2, 1, name="block1a_conv")(outputs)
    outputs = keras.layers.Conv2D(2, 1, name="block1a_project_conv")(outputs)
    assert candidate_cut_offs(
        keras.Model(inputs, outputs), dataclasses.replace(get_backbone("resnet50"), cut_offs=("block1a_conv",))
    ) == ["block1a_conv", "block1a_project_conv"]


def test_parse_cut_offs_auto_with_other_backbone_returns_chain() -> None:
    cut_offs = parse_cut_offs("auto", network("resnet50"), get_backbone("resnet50"))
    assert (len(cut_offs), cut_offs[0], cut_offs[-1]) == (16, "conv2_block2_1_conv", "conv5_block3_3_conv")


def test_parse_cut_offs_sorts_names_from_input_to_output() -> None:
    text = "conv5_block16_2_conv, conv4_block1_1_conv,conv5_block16_0_bn"
    names = ["conv4_block1_1_conv", "conv5_block16_0_bn", "conv5_block16_2_conv"]
    assert parse_cut_offs(text, network("densenet121"), get_backbone("densenet121"), HEAD) == names
    assert parse_cut_offs("conv5_block16_2_conv", network("densenet121"), get_backbone("densenet121"), HEAD) == [
        "conv5_block16_2_conv"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("conv5_block16_3_conv", "model_cut_off must be a layer of densenet121, got .*; did you mean 'conv5_block1"),
        ("conv5_block16_2_conv,", "model_cut_off must name each layer once, got 'conv5_block16_2_conv,'"),
        ("automatic", "model_cut_off must be a layer of densenet121, got 'automatic'"),
        ("auto,conv5_block16_2_conv", "model_cut_off must be a layer of densenet121, got 'auto'"),
        ("conv1_conv,conv1_conv", "model_cut_off must name each layer once, got 'conv1_conv,conv1_conv'"),
        (
            "conv1_conv,bn",
            "^model_cut_off must leave weights of the backbone to train, but there are none from 'bn' on$",
        ),
        ("probabilities", "model_cut_off must leave weights .*, but there are none from 'probabilities' on"),
    ],
)
def test_parse_cut_offs_invalid_text_raises(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_cut_offs(text, network("densenet121"), get_backbone("densenet121"), HEAD)


def test_parse_cut_offs_in_different_branches_raises() -> None:
    with pytest.raises(ValueError, match="got 'conv5_block1_0_conv' in another branch than 'conv5_block1_1_conv'"):
        parse_cut_offs("conv5_block1_0_conv,conv5_block1_1_conv", network("resnet50"), get_backbone("resnet50"))


def test_parse_cut_offs_leaves_network_unchanged() -> None:
    before = [layer.trainable for layer in network("densenet121").layers]
    parse_cut_offs("auto", network("densenet121"), get_backbone("densenet121"), HEAD)
    assert [layer.trainable for layer in network("densenet121").layers] == before
