"""Splitting a network at any layer: prefix and suffix compute the same outputs and share the network's weights."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph import downstream_layers
from radiograft.models.graph_split import ELEMENTWISE_LAYERS, SplitModel, bridge_model, pool_before_concat, split_model
from tests.helpers.networks import (
    IMAGES,
    SIZE,
    every_backbone,
    freeze_normalization,
    inner_layers,
    network,
    outputs,
    shares,
    whole,
)


def run_split(split: SplitModel, images: np.ndarray) -> np.ndarray:
    return outputs(split.suffix, outputs(split.prefix, images))[0]


few_examples = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@every_backbone
@few_examples
@given(share=shares)
def test_split_model_at_any_layer_preserves_outputs(name: str, share: float) -> None:
    model = network(name)
    cut_off = inner_layers(model)[int(share * len(inner_layers(model)))]
    cut = split_model(model, cut_off)
    np.testing.assert_allclose(run_split(cut, IMAGES), outputs(model, IMAGES)[0], atol=1e-6)
    trained = downstream_layers(model, cut_off)
    assert not trained & {layer.name for layer in cut.prefix.layers}
    recomputed = {model.get_layer(layer) for layer in set(inner_layers(cut.suffix)) - trained}
    assert trained <= set(inner_layers(cut.suffix))
    assert all(isinstance(layer, ELEMENTWISE_LAYERS) and not layer.trainable_weights for layer in recomputed)


@every_backbone
@few_examples
@given(share=shares, further=shares)
def test_bridge_model_maps_shallower_to_deeper_frontier(name: str, share: float, further: float) -> None:
    model = pool_before_concat(network(name))
    shallower = inner_layers(model)[int(share * len(inner_layers(model)))]
    downstream = [layer for layer in inner_layers(model) if layer in downstream_layers(model, shallower)]
    first, second = split_model(model, shallower), split_model(model, downstream[int(further * len(downstream))])
    extended = outputs(bridge_model(first, second), outputs(first.prefix, IMAGES))
    for actual, expected in zip(extended, outputs(second.prefix, IMAGES), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_split_model_recomputes_frozen_elementwise_layers() -> None:
    model = network("densenet121")
    (tensor,) = split_model(model, "conv5_block16_1_conv").prefix.outputs
    assert tensor.shape == (None, 1, 1, 992)
    model.get_layer("conv5_block16_0_bn").trainable = True
    try:
        assert len(split_model(model, "conv5_block16_1_conv").prefix.outputs) == 2
    finally:
        freeze_normalization(model)


def test_split_model_default_cut_off_has_two_frontier_tensors() -> None:
    model = network("densenet121")
    cut = split_model(model, "conv5_block16_2_conv")
    assert sorted(tensor.shape[-1] for tensor in cut.prefix.outputs) == [128, 992]
    assert downstream_layers(model, "conv5_block16_2_conv") == {
        "conv5_block16_2_conv", "conv5_block16_concat", "bn", "relu", "pooled",
        "classifier_dense", "classifier_dropout", "probabilities",
    }  # fmt: skip


def test_pool_before_concat_shrinks_cache_and_preserves_outputs() -> None:
    model = whole(build_backbone("densenet121", "none", "", 224))
    unfreeze_from(model, "conv5_block16_2_conv")
    plain, pooled_early = (
        split_model(model, "conv5_block16_2_conv"),
        split_model(pool_before_concat(model), "conv5_block16_2_conv"),
    )
    assert plain.bytes_per_copy() == 2 * 7 * 7 * (128 + 992)
    assert pooled_early.bytes_per_copy() == 2 * (7 * 7 * 128 + 992) == 14_528
    images = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 1), dtype="uint8")
    np.testing.assert_allclose(run_split(pooled_early, images), outputs(model, images)[0], atol=1e-6)


def test_pool_before_concat_trainable_normalization_is_not_copied() -> None:
    model = network("densenet121")
    model.get_layer("bn").trainable = True
    assert pool_before_concat(model) is model
    freeze_normalization(model)


@pytest.mark.parametrize(
    ("name", "cut_off"), [("densenet121", "conv5_block16_2_conv"), ("efficientnet_lite0", "block7a_expand_conv")]
)
def test_training_suffix_trains_network(name: str, cut_off: str) -> None:
    model = whole(build_backbone(name, "none", "", SIZE))
    unfreeze_from(model, cut_off)
    cut = split_model(pool_before_concat(model), cut_off)
    before = outputs(model, IMAGES)[0]
    cut.suffix.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    frontier = outputs(cut.prefix, IMAGES)
    cut.suffix.fit(frontier if len(frontier) > 1 else frontier[0], np.ones((3, 2)), epochs=2, verbose=0)
    after = outputs(model, IMAGES)[0]
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(run_split(cut, IMAGES), after, atol=1e-6)


def test_split_model_invalid_cut_off_raises() -> None:
    model = network("efficientnet_lite0")
    with pytest.raises(
        ValueError, match=r"model_cut_off must be a layer of .*, got 'top_conf'; did you mean 'top_conv'"
    ):
        split_model(model, "top_conf")
    with pytest.raises(ValueError, match="model_cut_off must leave layers to freeze, got the input 'picture'"):
        split_model(model, "picture")
