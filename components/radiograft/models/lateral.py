"""The lateral branch of a network: a second backbone whose pooled features are joined with those of the frontal image.

The branch has the layers of the frontal one, with the prefix LATERAL_PREFIX. An image of zeros stands for a missing
lateral image: a vector that training learns then takes the place of its pooled features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from radiograft.models.feature_layers import pooled_parts
from radiograft.models.graph import LATERAL_ABSENT, LATERAL_PREFIX
from radiograft.models.spec import DEFAULT_NAMES, LATERAL_INPUT

PRESENT = f"{LATERAL_PREFIX}present"
MISSING_VECTOR = f"{LATERAL_PREFIX}missing"
JOINED = f"{LATERAL_PREFIX}joined_views"
VALUES, FLAT, BRIGHTEST = (f"{LATERAL_PREFIX}{name}" for name in ("values", "flat", "brightest"))
KEPT, FILLED = (f"{LATERAL_PREFIX}{name}" for name in ("kept", "filled"))
VIEW_LAYERS = {VALUES, FLAT, BRIGHTEST, PRESENT, LATERAL_ABSENT, MISSING_VECTOR, KEPT, FILLED, JOINED}


def has_lateral(network: keras.Model) -> bool:
    """Returns whether a network reads a lateral image."""
    return any(tensor.name == LATERAL_INPUT for tensor in network.inputs)


def add_lateral(features: keras.Model, scales: Sequence[np.ndarray] | None = None) -> keras.Model:
    """Returns a network that joins the pooled features of a frontal and of a lateral image.

    The lateral branch starts with the weights of the frontal one and has its own from then on. The learned vector
    starts at 0.

    Args:
        features: from images, uint8 [n, size, size, channels], to pooled features float32 [n, width].
        scales: weights of the layer that standardizes the lateral features, if several layers are joined.

    Returns:
        A network from two images to float32 [n, 2 width] that shares the layers of `features`.
    """
    image = keras.Input(features.input_shape[1:], dtype="uint8", name=LATERAL_INPUT)
    branch = keras.models.clone_model(features, input_tensors=image, clone_function=_renamed)
    branch.set_weights(features.get_weights())
    if scales is not None:
        branch.get_layer(f"{LATERAL_PREFIX}{DEFAULT_NAMES.pooling}").set_weights(scales)
    pooled, present = branch.output, _presence(image)
    absent = _layer(keras.layers.Rescaling, LATERAL_ABSENT, -1.0, offset=1.0)(present)
    zeros = keras.initializers.Zeros()
    vector = _layer(keras.layers.Dense, MISSING_VECTOR, pooled.shape[-1], use_bias=False, kernel_initializer=zeros)
    kept = _layer(keras.layers.Multiply, KEPT)([pooled, present])
    filled = _layer(keras.layers.Add, FILLED)([kept, vector(absent)])
    joined = _layer(keras.layers.Concatenate, JOINED)([features.output, filled])
    return keras.Model([features.input, image], joined, name=features.name)


def view_parts(network: keras.Model, pooling: str = DEFAULT_NAMES.pooling) -> list[keras.KerasTensor]:
    """Returns what the classifier reads of the images: pooled features [n, channels] of each part, see `pooled_parts`.

    Of a network with a lateral branch also its pooled features, and float32 [n, 1]: 1 if there is a lateral image.
    """
    frontal = pooled_parts(network, pooling)
    if not has_lateral(network):
        return frontal
    return [*frontal, *pooled_parts(network, f"{LATERAL_PREFIX}{pooling}"), network.get_layer(PRESENT).output]


def _renamed(layer: keras.Layer) -> keras.Layer:
    config: Mapping[str, Any] = layer.get_config()
    copy = type(layer).from_config({**config, "name": f"{LATERAL_PREFIX}{layer.name}"})
    copy.trainable = layer.trainable
    return copy


def _presence(image: keras.KerasTensor) -> keras.KerasTensor:
    """Returns float32 [n, 1]: 0 for an image of zeros, else 1."""
    gray = _layer(keras.layers.Rescaling, VALUES, 1.0)(image)
    if (channels := image.shape[-1]) > 1:
        rows, columns = image.shape[1:3]
        gray = _layer(keras.layers.Reshape, FLAT, (rows, columns * channels, 1))(gray)
    brightest = _layer(keras.layers.GlobalMaxPooling2D, BRIGHTEST)(gray)
    return _layer(keras.layers.ReLU, PRESENT, max_value=1.0)(brightest)


def _layer(kind: type[keras.layers.Layer], name: str, *arguments: Any, **options: Any) -> keras.layers.Layer:
    return kind(*arguments, dtype="float32", name=name, **options)
