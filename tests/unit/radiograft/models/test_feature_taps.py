"""Every block of a backbone can be tapped, all in one pass."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from radiograft.models.backbone import build_backbone
from radiograft.models.feature_taps import build_tap_model, check_tap, tap_layers, tap_widths


@pytest.fixture(scope="module")
def densenet() -> keras.Model:
    return build_backbone("densenet121", "none", "", 32)


def test_densenet_has_58_dense_layers_3_transitions_and_its_end(densenet: keras.Model) -> None:
    names = tap_layers(densenet)
    dense = [name for name in names if name.endswith("_concat")]
    assert (len(dense), sum(tap_widths(densenet, dense))) == (58, 33_376)
    assert (names[0], names[-1]) == ("conv2_block1_concat", "relu")
    assert [name for name in names if name not in dense] == ["pool2_pool", "pool3_pool", "pool4_pool", "relu"]


def test_other_backbones_are_tapped_at_every_block() -> None:
    lite = tap_layers(build_backbone("efficientnet_lite0", "none", "", 32))
    assert lite[:3] == ["block1a_project_bn", "block2a_project_bn", "block2b_add"]
    assert (len(lite), lite[-1]) == (17, "top_activation")
    resnet = tap_layers(keras.applications.ResNet50(include_top=False, weights=None, input_shape=(32, 32, 3)))
    assert (len(resnet), resnet[:2], resnet[-1]) == (17, ["pool1_pool", "conv2_block1_out"], "conv5_block3_out")


def test_one_pass_gives_each_layers_mean_over_the_image(densenet: keras.Model) -> None:
    names = ["conv2_block1_concat", "pool3_pool", "relu"]
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype="uint8")
    found = np.asarray(build_tap_model(densenet, names)(images))
    assert found.shape == (2, sum(tap_widths(densenet, names)))
    alone = [keras.Model(densenet.input, densenet.get_layer(name).output)(images) for name in names]
    np.testing.assert_allclose(found, np.concatenate([np.mean(a, axis=(1, 2)) for a in alone], axis=1), atol=1e-5)


def test_a_layer_that_is_no_candidate_is_refused_with_the_nearest(densenet: keras.Model) -> None:
    check_tap(densenet, "conv4_block24_concat")
    with pytest.raises(ValueError, match=r"got 'conv4_block24_conv'; did you mean 'conv4_block24_concat'"):
        check_tap(densenet, "conv4_block24_conv")
