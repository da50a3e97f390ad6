"""A network cut at any layer: prefix and suffix are the network, and what the suffix learns the network knows."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.modeling.backbones import build_backbone
from components.modeling.early_pooling import pool_branches
from components.modeling.graph import computed_from
from components.modeling.network import attach_classifier, build_classifier, pooled, unfreeze_from
from components.modeling.split import Split, split

SIZE = 32
PICTURES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 1), dtype="uint8")


def whole(backbone: keras.Model) -> keras.Model:
    features = pooled(backbone)
    classifier = build_classifier(features.output.shape[-1], 2, dense_units=8, dropout=0.0, l2=0.0, seed=0)
    return attach_classifier(features, classifier)


@functools.cache
def network(name: str) -> keras.Model:
    if name == "resnet50":  # not one of ours: the cut is a matter of the graph, not of a list of names
        grey = keras.Input((SIZE, SIZE, 1))
        colour = keras.layers.Concatenate()([grey, grey, grey])
        backbone = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=colour)
    else:
        backbone = build_backbone(name, "none", "", SIZE)
    return whole(backbone)


def outputs(model: keras.Model, inputs: object) -> list[np.ndarray]:
    """What a model gives, eagerly, as a list."""
    found = model(inputs, training=False)
    return [np.asarray(part) for part in (found if isinstance(found, list | tuple) else [found])]


def through(cut: Split, pictures: np.ndarray) -> np.ndarray:
    return outputs(cut.suffix, outputs(cut.prefix, pictures))[0]


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_lite0", "resnet50"])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_prefix_and_suffix_are_the_network_at_any_layer(name: str, share: float) -> None:
    model = network(name)
    layers = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    cut = split(model, layers[int(share * len(layers))])
    np.testing.assert_allclose(through(cut, PICTURES), outputs(model, PICTURES)[0], atol=1e-6)
    trained = {layer.name for layer in cut.suffix.layers if not isinstance(layer, keras.layers.InputLayer)}
    assert trained == computed_from(model, layers[int(share * len(layers))])
    assert not trained & {layer.name for layer in cut.prefix.layers}


def test_the_posters_cut_meets_in_two_tensors() -> None:
    model = network("densenet121")
    cut = split(model, "conv5_block16_2_conv")
    assert sorted(tensor.shape[-1] for tensor in cut.prefix.outputs) == [128, 992]
    assert computed_from(model, "conv5_block16_2_conv") == {
        "conv5_block16_2_conv", "conv5_block16_concat", "bn", "relu", "pooled",
        "classifier_dense", "classifier_dropout", "probabilities",
    }  # fmt: skip


def test_early_pooling_shrinks_the_posters_cache_and_changes_nothing() -> None:
    model = whole(build_backbone("densenet121", "none", "", 224))
    unfreeze_from(model, "conv5_block16_2_conv")
    plain, pooled_early = split(model, "conv5_block16_2_conv"), split(pool_branches(model), "conv5_block16_2_conv")
    assert plain.bytes_a_view() == 2 * 7 * 7 * (128 + 992)
    assert pooled_early.bytes_a_view() == 2 * (7 * 7 * 128 + 992) == 14_528
    pictures = np.random.default_rng(1).integers(0, 256, (2, 224, 224, 1), dtype="uint8")
    np.testing.assert_allclose(through(pooled_early, pictures), outputs(model, pictures)[0], atol=1e-6)


def test_a_normalisation_that_may_change_is_not_copied() -> None:
    model = network("densenet121")
    model.get_layer("bn").trainable = True
    assert pool_branches(model) is model


@pytest.mark.parametrize(
    ("name", "cut_off"), [("densenet121", "conv5_block16_2_conv"), ("efficientnet_lite0", "block7a_expand_conv")]
)
def test_the_trained_suffix_is_the_trained_network(name: str, cut_off: str) -> None:
    model = whole(build_backbone(name, "none", "", SIZE))
    unfreeze_from(model, cut_off)
    cut = split(pool_branches(model), cut_off)
    before = outputs(model, PICTURES)[0]
    cut.suffix.compile(keras.optimizers.SGD(0.5), "binary_crossentropy")
    frontier = outputs(cut.prefix, PICTURES)
    cut.suffix.fit(frontier if len(frontier) > 1 else frontier[0], np.ones((3, 2)), epochs=2, verbose=0)
    after = outputs(model, PICTURES)[0]
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_allclose(through(cut, PICTURES), after, atol=1e-6)


def test_refusals() -> None:
    model = network("efficientnet_lite0")
    with pytest.raises(
        ValueError, match=r"model_cut_off must be a layer of .*, got 'top_conf'; did you mean 'top_conv'"
    ):
        split(model, "top_conf")
    with pytest.raises(ValueError, match="model_cut_off must leave layers to freeze, got the input 'picture'"):
        split(model, "picture")
