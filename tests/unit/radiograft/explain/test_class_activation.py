"""Heat maps against the published formulas, for confident networks and without evidence; and their overlay."""

from __future__ import annotations

import io
from collections.abc import Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radiograft.backbones import get_backbone
from radiograft.config.network import MapPooling
from radiograft.explain.class_activation import ActivationMaps, HeatMaps, blend, overlay
from radiograft.models.backbone import build_backbone
from radiograft.models.class_maps import build_class_map_classifier
from radiograft.models.graph import input_of
from radiograft.models.heads import attach_classifier
from radiograft.models.predictor import Predictor
from radiograft.models.spec import TensorNames
from tests.helpers import networks
from tests.helpers.squares import SIZE, SQUARE, brightness, image, network

KERNEL = np.random.default_rng(1).normal(size=(6, 2)).astype("float32")
IMAGES = np.random.default_rng(2).integers(0, 256, (5, SIZE, SIZE, 1), dtype="uint8")
BRIGHTNESS = brightness()
OVER_MAP = TensorNames(pooling="classifier_dropout", class_map="class_map")


def maps_of(model: keras.Model, images: np.ndarray, label: int, blocks: Sequence[str] = ()) -> ActivationMaps:
    heat_maps = HeatMaps(model, tf.distribute.get_strategy(), blocks=blocks)
    (maps,) = heat_maps.stream(tf.data.Dataset.from_tensor_slices(images).batch(len(images)), label)
    return maps


def normalized(evidence: np.ndarray, size: int = SIZE) -> np.ndarray:
    """Positive evidence [n, h, w], resized by Pillow and scaled to a maximum of 1."""
    resized = [
        Image.fromarray(np.maximum(map_, 0)).resize((size, size), Image.Resampling.BILINEAR) for map_ in evidence
    ]
    heat = np.stack([np.asarray(map_) for map_ in resized])
    maximum = heat.max(axis=(1, 2), keepdims=True)
    assert (maximum > 0).all()
    return heat / maximum


@pytest.mark.parametrize("label", [0, 1])
def test_grad_cam_linear_head_equals_cam(label: int) -> None:
    model = network(6, KERNEL)
    activation = keras.Model(model.input, model.get_layer("cells").output)(IMAGES).numpy()
    cam = np.einsum("nhwc,c->nhw", activation, KERNEL[:, label])  # Zhou et al. 2016
    assert (cam > 0).any(axis=(1, 2)).all()
    np.testing.assert_allclose(maps_of(model, IMAGES, label).grad_cam, normalized(cam), atol=1e-5)


def test_layer_cam_weights_cells_by_positive_gradient() -> None:
    model = network(6, KERNEL)
    activation = keras.Model(model.input, model.get_layer("cells").output)(IMAGES).numpy()
    cam = np.einsum("nhwc,c->nhw", activation, np.maximum(KERNEL[:, 0], 0))
    np.testing.assert_allclose(maps_of(model, IMAGES, 0).layer_cam, normalized(cam), atol=1e-5)


FINER = [("densenet121", "conv4_block24_concat"), ("efficientnet_lite0", "block5c_add")]


@pytest.mark.parametrize(("name", "block"), FINER)
def test_layer_cam_uses_last_block_of_twice_the_resolution(name: str, block: str) -> None:
    keras.utils.set_random_seed(3)  # other seeds may give no evidence for the label
    model = networks.whole(build_backbone(name, "none", "", networks.SIZE))
    middle = model.get_layer(block).output
    assert middle.shape[1] == 2 * model.get_layer("pooled").input.shape[1]
    front = keras.Model(model.input, middle)
    back = keras.Model(middle, input_of(model, "probabilities"))
    activation = tf.convert_to_tensor(front(networks.IMAGES, training=False))
    kernel = model.get_layer("probabilities").kernel.numpy()
    with tf.GradientTape() as tape:
        tape.watch(activation)
        logits = tf.matmul(back(activation, training=False), kernel)[:, 0]
    gradient = tape.gradient(logits, activation).numpy()
    cam = (np.maximum(gradient, 0) * activation.numpy()).sum(axis=-1)
    layer_cam = maps_of(model, networks.IMAGES, 0, get_backbone(name).taps).layer_cam
    np.testing.assert_allclose(layer_cam, normalized(cam, networks.SIZE), atol=1e-4)


def test_heat_maps_confident_network_is_unchanged() -> None:
    confident, uncertain = (maps_of(network(6, KERNEL, bias), IMAGES, 0) for bias in (200.0, 0.0))
    np.testing.assert_array_equal(confident.grad_cam, uncertain.grad_cam)
    np.testing.assert_array_equal(confident.layer_cam, uncertain.layer_cam)


@pytest.mark.parametrize("kernel", [np.zeros((6, 2)), -np.abs(KERNEL)])
def test_heat_maps_without_evidence_are_zero(kernel: np.ndarray) -> None:
    for heat in maps_of(network(6, kernel), IMAGES, 1)[:2]:  # it has no class map
        np.testing.assert_array_equal(heat, np.zeros((5, SIZE, SIZE)))


@pytest.mark.parametrize("count", [1, 2, 33])
def test_heat_maps_any_number_of_images(count: int) -> None:
    images = np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 1), dtype="uint8")
    heat_maps = HeatMaps(network(6, KERNEL), tf.distribute.get_strategy())
    heat = heat_maps.grad_cam(images, 1)
    assert (heat.shape, heat.dtype) == ((count, SIZE, SIZE), np.float32)
    np.testing.assert_allclose(heat[-1:], heat_maps.grad_cam(images[-1:], 1), atol=1e-6)
    np.testing.assert_allclose(heat.max(axis=(1, 2)), 1)
    assert heat.min() >= 0


def test_heat_maps_and_predictions_do_not_interfere() -> None:
    model = network(6, KERNEL)
    images = tf.data.Dataset.from_tensor_slices(IMAGES).batch(5)
    predictor = Predictor(model, tf.distribute.get_strategy())
    before, alone = predictor.predict(images), maps_of(network(6, KERNEL), IMAGES, 0)
    np.testing.assert_array_equal(maps_of(model, IMAGES, 0).grad_cam, alone.grad_cam)
    np.testing.assert_array_equal(predictor.predict(images), before)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_heat_maps_half_precision_matches_float32(policy: str) -> None:
    full = maps_of(network(6, KERNEL), IMAGES, 0)
    keras.config.set_dtype_policy(policy)
    try:
        model = network(6, KERNEL)
        half = maps_of(model, IMAGES, 0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("cells").compute_dtype == policy.removeprefix("mixed_")
    for actual, desired in zip(half.by_image(), full.by_image(), strict=True):
        np.testing.assert_allclose(actual, desired, atol=0.05)


def over_map(kind: str, kernel: np.ndarray, bias: float) -> keras.Model:
    """The same network with a head that pools a class map; the kernel is [channels, 2]."""
    backbone = network(len(kernel), kernel)
    cells = backbone.get_layer("cells").output
    pooling, options = MapPooling(kind), {"dense_units": 0, "dropout": 0.5, "l2": 0.0, "seed": 0}
    head = build_class_map_classifier(tuple(cells.shape[1:]), 2, pooling, **options)  # type: ignore[arg-type]
    head.get_layer("class_map").set_weights([kernel[None, None], np.full(2, bias)])
    return attach_classifier(keras.Model(backbone.input, cells, name="squares_features"), head)


def test_class_map_is_probability_at_each_position_scaled_to_its_maximum() -> None:
    """Also if the label is unlikely everywhere: a map of logits would have no heat."""
    model = over_map("lse", KERNEL, bias=-8.0)
    maps = keras.Model(model.input, input_of(model, "class_map_pooled"))(IMAGES).numpy()[..., 1]
    heat_maps = HeatMaps(model, tf.distribute.get_strategy(), OVER_MAP)
    assert heat_maps.names == ("grad_cam", "layer_cam", "class_map")
    (streamed,) = heat_maps.stream(tf.data.Dataset.from_tensors(IMAGES), 1)
    np.testing.assert_allclose(streamed.class_map, normalized(1 / (1 + np.exp(-maps))), atol=1e-5)


def test_grad_cam_of_maximum_weights_channels_by_the_hottest_position() -> None:
    """The gradient of the logit is the kernel at the position of the maximum, and its mean is the kernel over 64."""
    model = over_map("max", KERNEL, bias=0.0)
    cells = keras.Model(model.input, model.get_layer("cells").output)(IMAGES).numpy()
    (streamed,) = HeatMaps(model, tf.distribute.get_strategy(), OVER_MAP).stream(
        tf.data.Dataset.from_tensors(IMAGES), 0
    )
    np.testing.assert_allclose(streamed.grad_cam, normalized(cells @ KERNEL[:, 0]), atol=1e-5)


@given(st.integers(0, SIZE - SQUARE), st.integers(0, SIZE - SQUARE))
@settings(max_examples=25, deadline=None)
def test_grad_cam_locates_bright_square(x: int, y: int) -> None:
    (heat,) = BRIGHTNESS.grad_cam(image((x, y))[None], 0)
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert x - 2 <= column < x + SQUARE + 2  # a cell of four pixels may extend beyond the square
    assert y - 2 <= row < y + SQUARE + 2
    np.testing.assert_array_equal(BRIGHTNESS.grad_cam(image((x, y))[None], 1), np.zeros((1, SIZE, SIZE)))


def test_blend_colors_only_regions_with_heat() -> None:
    gray = np.full((SIZE, SIZE, 1), 100, dtype="uint8")
    heat = np.zeros((SIZE, SIZE), dtype="float32")
    heat[:, SIZE // 2 :] = 1.0
    shown = blend(gray, heat)
    assert (shown.shape, shown.dtype) == ((SIZE, SIZE, 3), np.uint8)
    assert (shown[:, : SIZE // 2] == 100).all()
    red, green, blue = shown[0, -1].tolist()
    assert red > 150
    assert green > blue
    assert (blend(gray, None) == 100).all()


def test_blend_outlines_boxes() -> None:
    gray = np.full((100, 100), 255, dtype="uint8")
    changed = (blend(gray, None, [(0.2, 0.4, 0.5, 0.3)]) != 255).any(axis=-1)
    rows, columns = changed.any(axis=1).nonzero()[0], changed.any(axis=0).nonzero()[0]
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (19, 71, 39, 71)
    assert not changed[45:65, 25:65].any()
    larger = (blend(gray, None, [(0.2, 0.4, 0.5, 0.3)], side=200) != 255).any(axis=-1)
    assert larger.shape == (200, 200)
    assert (larger.any(axis=0).nonzero()[0].min(), larger.any(axis=1).nonzero()[0].max()) == (39, 141)


def test_overlay_is_png_of_image_size() -> None:
    heat = np.linspace(0, 1, SIZE * SIZE, dtype="float32").reshape(SIZE, SIZE)
    with Image.open(io.BytesIO(overlay(IMAGES[0], heat, [(0, 0, 0.5, 0.5)]))) as png:
        assert (png.format, png.mode, png.size) == ("PNG", "RGB", (SIZE, SIZE))
        np.testing.assert_array_equal(np.asarray(png), blend(IMAGES[0], heat, [(0, 0, 0.5, 0.5)]))
