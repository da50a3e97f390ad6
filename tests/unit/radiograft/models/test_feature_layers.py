"""Classifiers on the joined pooled outputs of several layers."""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given

from radiograft.backbones import get_backbone
from radiograft.explain.class_activation import HeatMaps
from radiograft.models import artifact
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import candidate_cut_offs, unfreeze_from
from radiograft.models.feature_layers import feature_parts
from radiograft.models.graph import input_of
from radiograft.models.graph_split import bridge_model, pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor, cast_to_policy
from radiograft.models.spec import ModelSpec
from tests.helpers.networks import HEAD, IMAGES, SIZE, outputs, shares
from tests.unit.radiograft.models.test_graph_split import few_examples, run_split

every_kind = pytest.mark.parametrize("name", ["densenet121", "efficientnet_lite0", "squeezenet"])
NAMES = {"densenet121": 3840, "efficientnet_lite0": 3088, "squeezenet": 2624}  # channels of all taps, each once


@functools.cache
def joined(name: str) -> keras.Model:
    """Returns a network on all layers of a backbone whose standardization has random weights."""
    keras.utils.set_random_seed(1)
    backbone = build_backbone(name, "none", "", 2 * SIZE)
    features = build_feature_extractor(backbone, *get_backbone(name).taps)
    random, layer = np.random.default_rng(0), features.get_layer("pooled")
    layer.set_weights([random.normal(size=NAMES[name]) / 10, random.uniform(0.01, 2, NAMES[name])])
    return attach_classifier(features, build_classifier(NAMES[name], 2, dense_units=8, dropout=0.0, l2=0.0, seed=0))


@functools.cache
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 2 * SIZE, 2 * SIZE, 1), dtype="uint8")


def distinct_taps(name: str, model: keras.Model) -> np.ndarray:
    """Returns the spatial means of all taps, without the channels that DenseNet repeats from the layer before."""
    means, previous = list[np.ndarray](), 0
    for tap in get_backbone(name).taps:
        mean = np.asarray(keras.Model(model.input, model.get_layer(tap).output)(images())).mean(axis=(1, 2))
        is_dense = tap.endswith("_concat") and name == "densenet121"
        means.append(mean[:, previous:] if is_dense and not tap.endswith("block1_concat") else mean)
        # A block's first layer repeats the transition before it, which is a tap of its own.
        if is_dense and tap.endswith("block1_concat") and tap != "conv2_block1_concat":
            means[-1] = mean[:, -32:]
        previous = mean.shape[1]
    return np.concatenate(means, axis=1)


@every_kind
def test_joined_network_reads_every_channel_once_and_standardizes(name: str) -> None:
    model = joined(name)
    expected = distinct_taps(name, model)
    assert expected.shape == (3, NAMES[name])
    mean, variance = model.get_layer("pooled").get_weights()
    pooled = keras.Model(model.input, model.get_layer("pooled").output)(images())
    np.testing.assert_allclose(pooled, (expected - mean) / np.sqrt(variance), rtol=1e-4, atol=1e-4)


def test_feature_parts_of_one_layer_is_whole_layer() -> None:
    backbone = build_backbone("densenet121", "none", "", SIZE)
    (part,) = feature_parts(backbone, ["conv3_block5_concat"])
    assert (part.layer, part.channels) == ("conv3_block5_concat", slice(0, 288))


@every_kind
def test_joined_network_saved_model_equals_classifier_of_joined_features(name: str, tmp_path: Path) -> None:
    model = joined(name)
    spec = ModelSpec(2 * SIZE, ("A", "B"), name, "none", cut_off="", strategy="feature_extraction")
    artifact.save_model(tmp_path, model, spec, {})
    artifact.export_saved_model(artifact.load_model(tmp_path), spec, tmp_path / "saved_model")
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["pictures"]
    probabilities = served(pictures=tf.constant(images(), "float32"))["probabilities"]
    mean, variance = model.get_layer("pooled").get_weights()
    features = (distinct_taps(name, model) - mean) / np.sqrt(variance)
    hidden, bias = model.get_layer("classifier_dense").get_weights()
    kernel, last = model.get_layer("probabilities").get_weights()
    logits = np.maximum(features @ hidden + bias, 0) @ kernel + last
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-logits)), atol=1e-5)


@every_kind
@few_examples
@given(share=shares, further=shares)
def test_joined_network_split_and_bridge_preserve_outputs(name: str, share: float, further: float) -> None:
    """The pooled features of frozen layers are part of what is cached."""
    model = joined(name)
    cut_offs = candidate_cut_offs(model, get_backbone(name))
    first, second = sorted((int(share * len(cut_offs)), int(further * len(cut_offs))))
    unfreeze_from(model, cut_offs[first], HEAD)
    early = pool_before_concat(model)
    shallower, deeper = split_model(early, cut_offs[first]), split_model(early, cut_offs[second])
    expected = outputs(model, images())[0]
    np.testing.assert_allclose(run_split(shallower, images()), expected, atol=1e-5)
    bridged = outputs(bridge_model(shallower, deeper), outputs(shallower.prefix, images()))
    np.testing.assert_allclose(outputs(deeper.suffix, bridged)[0], expected, atol=1e-5)


@every_kind
def test_heat_maps_of_joined_network_follow_gradient_of_logit(name: str) -> None:
    """Grad-CAM uses the deepest layer; the pooled features of other layers stay constant."""
    model = joined(name)
    late = model.get_layer(get_backbone(name).taps[-1]).output
    kernel = model.get_layer("probabilities").kernel
    both = keras.Model(model.input, [late, model.get_layer("pooled").output])
    activation, pooled = (tf.convert_to_tensor(part) for part in both(images(), training=False))
    channels = late.shape[-1]
    scale = np.sqrt(model.get_layer("pooled").get_weights()[1][-channels:])
    hidden = keras.Model(model.get_layer("pooled").output, input_of(model, "probabilities"))
    with tf.GradientTape() as tape:
        tape.watch(pooled)
        logit = tf.matmul(hidden(pooled), kernel)[:, 0]
    weights = tape.gradient(logit, pooled).numpy()[:, -channels:] / scale
    evidence = np.maximum(np.einsum("nhwc,nc->nhw", activation.numpy(), weights), 0)
    maps = HeatMaps(model, tf.distribute.get_strategy(), blocks=get_backbone(name).taps)
    assert maps.cells == activation.shape[1:3]
    (heat,) = maps.stream(tf.data.Dataset.from_tensor_slices(images()).batch(3), 0)
    resized = tf.image.resize(evidence[..., None], heat.grad_cam.shape[1:3])[..., 0].numpy()
    peak = resized.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(heat.grad_cam, np.divide(resized, peak, where=peak > 0, out=resized), atol=1e-3)
    assert heat.layer_cam.shape == heat.grad_cam.shape


def test_layer_cam_of_joined_network_follows_pooled_features_of_its_block() -> None:
    """Fails if only the path to the deepest layer counts: a block may contribute through its pooled output alone."""
    image = keras.Input((SIZE, SIZE, 1), dtype="uint8")
    fine = keras.layers.Rescaling(1 / 255, name="fine")(image)
    coarse = keras.layers.AveragePooling2D(4, name="coarse")(fine)
    features = build_feature_extractor(keras.Model(image, coarse, name="small"), "fine", "coarse")
    head = build_classifier(2, 1, dense_units=0, dropout=0.0, l2=0.0, seed=0)
    model = attach_classifier(features, head)
    model.get_layer("probabilities").set_weights([np.array([[1.0], [0.0]]), np.zeros(1)])
    (maps,) = HeatMaps(model, tf.distribute.get_strategy(), blocks=["fine"]).stream(
        tf.data.Dataset.from_tensor_slices(IMAGES).batch(3), 0
    )
    pixels = IMAGES[..., 0].astype("float32")
    np.testing.assert_allclose(maps.layer_cam, pixels / pixels.max(axis=(1, 2), keepdims=True), atol=1e-5)
    assert not maps.grad_cam.any()


def test_cast_to_policy_keeps_joined_features_in_float32() -> None:
    model = joined("squeezenet")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        cast = cast_to_policy(model)
    finally:
        keras.config.set_dtype_policy("float32")
    precise = {layer.name for layer in cast.layers if layer.compute_dtype == "float32"}
    assert {"pooled", "joined", "fire9_0_pooled", "probabilities"} <= precise
    assert cast.get_layer("classifier_dense").compute_dtype == "bfloat16"
    for one, other in zip(cast.get_layer("pooled").get_weights(), model.get_layer("pooled").get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
