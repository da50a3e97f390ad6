"""The classifier, and that fine-tuning trains exactly the layers from the cut-off on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.backbones import get_backbone
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import check_cut_off, last_convolution, unfreeze_from
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from tests.helpers.networks import HEAD

LABELS = 2
UNITS = 8


def with_classifier(backbone: str) -> keras.Model:
    keras.utils.set_random_seed(0)
    features = build_feature_extractor(build_backbone(backbone, "none", "", 32))
    width = features.output.shape[-1]
    classifier = build_classifier(width, LABELS, dense_units=UNITS, dropout=0.5, l2=1e-4, seed=0)
    return attach_classifier(features, classifier)


@pytest.fixture(scope="module")
def densenet() -> keras.Model:
    return with_classifier("densenet121")


@pytest.fixture(scope="module")
def lite() -> keras.Model:
    return with_classifier("efficientnet_lite0")


def reached_from(model: keras.Model, start: str) -> set[str]:
    """Returns a layer and its downstream layers, computed from the config that Keras saves."""
    feeds: dict[str, set[str]] = {}
    for layer in model.get_config()["layers"]:
        nodes = json.dumps(layer["inbound_nodes"])
        feeds[layer["name"]] = {name for name in (other.name for other in model.layers) if f'["{name}", ' in nodes}
    reached, added = {start}, {start}
    while added:
        added = {name for name, sources in feeds.items() if sources & added} - reached
        reached |= added
    return reached


def batch_normalizations(model: keras.Model) -> Iterator[keras.layers.BatchNormalization]:
    return (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))


def values(layer: keras.Layer) -> list[np.ndarray]:
    return [np.array(weight) for weight in layer.get_weights()]


def test_build_classifier_has_relu_layer_dropout_and_sigmoids() -> None:
    classifier = build_classifier(6, 3, dense_units=4, dropout=0.25, l2=0.5, seed=1)
    hidden, dropout, output = classifier.layers[1:]
    assert (hidden.units, hidden.activation.__name__) == (4, "relu")
    assert dropout.rate == 0.25
    assert (output.units, output.activation.__name__) == (3, "sigmoid")
    assert [float(layer.kernel_regularizer.l2) for layer in (hidden, output)] == [0.5, 0.5]
    weights = classifier.get_weights()
    features = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    logits = np.maximum(features @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
    np.testing.assert_allclose(classifier(features), 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_build_classifier_without_relu_layer_is_logistic_regression() -> None:
    classifier = build_classifier(6, 3, dense_units=0, dropout=0.0, l2=0.0, seed=1)
    assert [tuple(weight.shape) for weight in classifier.get_weights()] == [(6, 3), (3,)]


def test_build_classifier_weights_follow_seed() -> None:
    one, same, other = (
        build_classifier(6, 3, dense_units=4, dropout=0.0, l2=0.0, seed=seed).get_weights()[0] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_attach_classifier_mixed_precision_keeps_float32_outputs() -> None:
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = with_classifier("efficientnet_lite0")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    dtypes = {name: model.get_layer(name).compute_dtype for name in ("normalised", "pooled", "probabilities")}
    assert dtypes == {"normalised": "float32", "pooled": "float32", "probabilities": "float32"}
    assert model.get_layer("top_conv").compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


def test_attach_classifier_returns_flat_network_with_shared_layers() -> None:
    inputs = keras.Input((4, 4, 3))
    features = build_feature_extractor(
        keras.Model(inputs, keras.layers.Conv2D(5, 1, name="convolution")(inputs), name="small")
    )
    classifier = build_classifier(5, 2, dense_units=3, dropout=0.5, l2=0.0, seed=0)
    network = attach_classifier(features, classifier)
    assert network.name == "small"
    assert [layer.name for layer in network.layers[1:]] == [
        *("convolution", "pooled", "classifier_dense", "classifier_dropout", "probabilities")
    ]
    images = np.random.default_rng(0).random((2, 4, 4, 3)).astype("float32")
    np.testing.assert_array_equal(network(images), classifier(features(images)))
    assert network.get_layer("convolution") is features.get_layer("convolution")


@pytest.mark.parametrize("backbone", ["densenet121", "efficientnet_lite0"])
def test_default_cut_off_is_last_convolution(backbone: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue({"densenet121": "densenet", "efficientnet_lite0": "lite"}[backbone])
    assert last_convolution(model) == get_backbone(backbone).default_cut_off


def test_unfreeze_from_default_cut_off_trains_last_convolution_and_classifier(densenet: keras.Model) -> None:
    trainable = unfreeze_from(densenet, "conv5_block16_2_conv")
    sizes = {weight.path: int(np.prod(weight.shape)) for weight in densenet.trainable_weights}
    assert sizes == {
        "conv5_block16_2_conv/kernel": 36_864,
        "classifier_dense/kernel": 1024 * UNITS,
        "classifier_dense/bias": UNITS,
        "probabilities/kernel": UNITS * LABELS,
        "probabilities/bias": LABELS,
    }
    assert trainable == sum(sizes.values())
    assert len(list(batch_normalizations(densenet))) == 121
    assert not any(layer.trainable for layer in batch_normalizations(densenet))


def test_training_from_default_cut_off_changes_no_earlier_layer(densenet: keras.Model) -> None:
    unfreeze_from(densenet, "conv5_block16_2_conv")
    before = {layer.name: values(layer) for layer in densenet.layers}
    random = np.random.default_rng(0)
    images, truth = random.integers(0, 256, (4, 32, 32, 1), dtype=np.uint8), np.eye(2)[[0, 1, 0, 1]]
    inference = np.array(densenet(images, training=False))
    densenet.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
    densenet.fit(images, truth, batch_size=4, epochs=2, verbose=0)
    changed = [
        layer.name
        for layer in densenet.layers
        if any((old != new).any() for old, new in zip(before[layer.name], values(layer), strict=True))
    ]
    assert changed == ["conv5_block16_2_conv", "classifier_dense", "probabilities"]
    assert (np.array(densenet(images, training=False)) != inference).any()


def test_unfreeze_from_keeps_batch_normalization_in_inference_mode(lite: keras.Model) -> None:
    unfreeze_from(lite, "stem_conv")
    statistics = [values(layer) for layer in batch_normalizations(lite)]
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 1), dtype=np.uint8)
    backbone = keras.Model(lite.inputs[0], lite.get_layer("pooled").output)
    np.testing.assert_allclose(backbone(images, training=True), backbone(images, training=False), atol=1e-5)
    for layer, old in zip(batch_normalizations(lite), statistics, strict=True):
        for one, other in zip(values(layer), old, strict=True):
            np.testing.assert_array_equal(one, other)


def check_frozen(model: keras.Model, cut_off: str) -> None:
    downstream = reached_from(model, cut_off)
    trainable = unfreeze_from(model, cut_off)
    normalizations = {layer.name for layer in batch_normalizations(model)}
    assert {layer.name for layer in model.layers if layer.trainable} == downstream - normalizations
    weights = {weight.path for name in downstream - normalizations for weight in model.get_layer(name).weights}
    kernels = {path for path in weights if not path.endswith("seed_generator_state")}
    assert {weight.path for weight in model.trainable_weights} == kernels
    assert trainable == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_unfreeze_from_any_layer_trains_exactly_downstream_layers(
    densenet: keras.Model, lite: keras.Model, data: st.DataObject
) -> None:
    for model in (densenet, lite):
        last = [layer.name for layer in model.layers].index(last_convolution(model))
        check_frozen(model, data.draw(st.sampled_from([layer.name for layer in model.layers[: last + 1]])))


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_unfreeze_from_with_batch_norm_trains_all_downstream_layers(
    densenet: keras.Model, lite: keras.Model, data: st.DataObject
) -> None:
    """Normalizations before the cut-off, and those of parallel branches, stay frozen: they are in the cached prefix."""
    for model in (densenet, lite):
        last = [layer.name for layer in model.layers].index(last_convolution(model))
        cut_off = data.draw(st.sampled_from([layer.name for layer in model.layers[: last + 1]]))
        trainable = unfreeze_from(model, cut_off, batch_norm="train")
        assert {layer.name for layer in model.layers if layer.trainable} == reached_from(model, cut_off)
        assert trainable == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        unfreeze_from(model, cut_off)
        assert not any(layer.trainable for layer in batch_normalizations(model))


def test_unfreeze_from_with_batch_norm_keeps_standardization_of_joined_features_frozen(lite: keras.Model) -> None:
    features = build_feature_extractor(
        keras.Model(lite.inputs[0], lite.get_layer("top_activation").output), "block7a_project_bn", "top_activation"
    )
    head = build_classifier(320 + 1280, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model = attach_classifier(features, head)
    unfreeze_from(model, "top_conv", batch_norm="train")
    assert model.get_layer("top_bn").trainable
    assert not model.get_layer("pooled").trainable


def test_unfreeze_from_keeps_parallel_branch_frozen(densenet: keras.Model) -> None:
    unfreeze_from(densenet, "conv5_block3_1_conv")
    assert not densenet.get_layer("conv5_block2_2_conv").trainable
    assert densenet.get_layer("conv5_block3_2_conv").trainable
    assert densenet.get_layer("conv5_block4_1_conv").trainable


def test_unfreeze_from_again_replaces_first_cut_off(lite: keras.Model) -> None:
    unfreeze_from(lite, "stem_conv")
    unfreeze_from(lite, "top_conv")
    assert not lite.get_layer("block7a_project_conv").trainable
    assert lite.get_layer("top_conv").trainable


@pytest.mark.parametrize("cut_off", ["top_bn", "top_activation", "pooled", "classifier_dense", "probabilities"])
def test_unfreeze_behind_last_convolution_raises(lite: keras.Model, cut_off: str) -> None:
    with pytest.raises(
        ValueError, match=f"must leave weights of the backbone .*, but there are none from '{cut_off}' on"
    ):
        unfreeze_from(lite, cut_off, HEAD)


def test_check_cut_off_unknown_layer_raises_with_suggestions(densenet: keras.Model, lite: keras.Model) -> None:
    for function in (check_cut_off, unfreeze_from):
        with pytest.raises(ValueError, match="model_cut_off must be a layer of densenet121, got") as caught:
            function(densenet, "conv5_block16_2conv")
        assert "; did you mean 'conv5_block16_2_conv' or " in str(caught.value)
        assert str(caught.value).endswith("(its last convolution is 'conv5_block16_2_conv')")
    with pytest.raises(ValueError, match=r"got 'conv5_block16_2_conv'.*\(its last convolution is 'top_conv'\)"):
        check_cut_off(lite, "conv5_block16_2_conv")
