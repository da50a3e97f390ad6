"""All blocks of a backbone can be tapped in one forward pass."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from radiograft.backbones import get_backbone
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import build_tap_model, check_tap, tap_widths
from radiograft.models.feature_layers import build_distinct_taps


@pytest.fixture(scope="module")
def densenet() -> keras.Model:
    return build_backbone("densenet121", "none", "", 32)


def test_taps_of_densenet_are_dense_layers_transitions_and_end(densenet: keras.Model) -> None:
    names = list(get_backbone("densenet121").taps)
    layers = [layer.name for layer in densenet.layers]
    assert names == [name for name in layers if name in names]
    dense = [name for name in names if name.endswith("_concat")]
    assert (len(dense), sum(tap_widths(densenet, dense))) == (58, 33_376)
    assert (names[0], names[-1]) == ("conv2_block1_concat", "relu")
    assert [name for name in names if name not in dense] == ["pool2_pool", "pool3_pool", "pool4_pool", "relu"]


def test_taps_of_efficientnet_lite_are_block_ends() -> None:
    names = list(get_backbone("efficientnet_lite0").taps)
    assert names[:3] == ["block1a_project_bn", "block2a_project_bn", "block2b_add"]
    assert (len(names), names[-1]) == (17, "top_activation")
    layers = [layer.name for layer in build_backbone("efficientnet_lite0", "none", "", 32).layers]
    assert names == [name for name in layers if name in names]


def test_build_distinct_taps_of_densenet_are_bit_identical_views(densenet: keras.Model) -> None:
    """Fails if a channel is stored twice, or if a layer of DenseNet is not one range of columns."""
    names = get_backbone("densenet121").taps
    network, columns = build_distinct_taps(densenet, names)
    assert (network.output.shape[-1], sum(tap_widths(densenet, names))) == (3_840, 35_296)
    assert all(len(ranges) == 1 for ranges in columns.values())
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype="uint8")
    distinct = np.asarray(network(images))
    repeated = np.asarray(build_tap_model(densenet, names)(images))
    by_layer = np.split(repeated, np.cumsum(tap_widths(densenet, names))[:-1], axis=1)
    for (name, (place,)), expected in zip(columns.items(), by_layer, strict=True):
        np.testing.assert_array_equal(distinct[:, place], expected, err_msg=name)


def test_build_tap_model_returns_spatial_mean_of_each_layer(densenet: keras.Model) -> None:
    names = ["conv2_block1_concat", "pool3_pool", "relu"]
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype="uint8")
    features = np.asarray(build_tap_model(densenet, names)(images))
    assert features.shape == (2, sum(tap_widths(densenet, names)))
    outputs = [keras.Model(densenet.input, densenet.get_layer(name).output)(images) for name in names]
    means = [np.mean(output, axis=(1, 2)) for output in outputs]
    np.testing.assert_allclose(features, np.concatenate(means, axis=1), atol=1e-5)


def test_check_tap_other_layer_raises_with_suggestion(densenet: keras.Model) -> None:
    check_tap(get_backbone("densenet121"), "conv4_block24_concat")
    with pytest.raises(ValueError, match=r"got 'conv4_block24_conv'; did you mean 'conv4_block24_concat'"):
        check_tap(get_backbone("densenet121"), "conv4_block24_conv")
