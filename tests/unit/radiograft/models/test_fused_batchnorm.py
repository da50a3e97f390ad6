"""Fused batch normalization gives the same results as the layers that it replaces."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from radiograft.models.backbone import build_backbone
from radiograft.models.predictor import FusedBatchNormalization, fuse_batch_norm

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)


def with_statistics(model: keras.Model) -> keras.Model:
    """Sets random weights and statistics, instead of the initial zeros and ones, in every normalization."""
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random.uniform(0.5, 1.5, weights.shape) for weights in layer.get_weights()])
    return model


def fused_layers(model: keras.Model) -> list[str]:
    return [layer.name for layer in model.layers if isinstance(layer, FusedBatchNormalization)]


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_lite0", "googlenet", "mobilenet_v2", "resnet50"])
def test_fuse_batch_norm_keeps_features_of_backbone(name: str) -> None:
    keras.utils.set_random_seed(0)
    backbone = with_statistics(build_backbone(name, "none", "", 32))
    layers, weights = backbone.get_config(), backbone.get_weights()
    fused = fuse_batch_norm(backbone)
    normalizations = [layer.name for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert fused_layers(fused) == normalizations
    expected = backbone(IMAGES, training=False).numpy()
    np.testing.assert_allclose(fused(IMAGES, training=False), expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert backbone.get_config() == layers
    for before, after in zip(weights, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_fuse_batch_norm_uses_later_weights() -> None:
    inputs = keras.Input((4, 4, 2))
    layer = keras.layers.BatchNormalization(epsilon=0.0)
    fused = fuse_batch_norm(keras.Model(inputs, layer(inputs)))
    layer.set_weights([np.full(2, value) for value in (3.0, 5.0, 1.0, 4.0)])  # gamma, beta, mean, variance
    np.testing.assert_allclose(fused(np.full((1, 4, 4, 2), 2.0)), np.full((1, 4, 4, 2), 6.5))  # (2 - 1) / 2 x 3 + 5


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_fuse_batch_norm_keeps_half_precision(precision: str) -> None:
    inputs = keras.Input((4, 4, 2), dtype="float32")
    model = with_statistics(keras.Model(inputs, keras.layers.BatchNormalization(dtype=precision)(inputs)))
    values = np.random.default_rng(2).normal(size=(2, 4, 4, 2)).astype("float32")
    actual, expected = (network(values, training=False) for network in (fuse_batch_norm(model), model))
    assert actual.dtype == expected.dtype != "float32"
    np.testing.assert_allclose(np.array(actual, "float32"), np.array(expected, "float32"), rtol=0.01, atol=0.01)


@pytest.mark.parametrize(
    ("shape", "options"), [((5,), {}), ((4, 4, 2), {"axis": 1}), ((4, 4, 2), {"scale": False}), ((4, 2), {})]
)
def test_fuse_batch_norm_unsupported_layer_is_kept(shape: tuple[int, ...], options: dict[str, object]) -> None:
    inputs = keras.Input(shape)
    model = with_statistics(keras.Model(inputs, keras.layers.BatchNormalization(**options)(inputs)))
    fused = fuse_batch_norm(model)
    assert fused_layers(fused) == []
    values = np.random.default_rng(3).normal(size=(2, *shape)).astype("float32")
    np.testing.assert_allclose(fused(values), model(values, training=False), atol=1e-6)
