"""Runs batch normalization in inference mode as one kernel, which TensorFlow can fuse with the neighboring layers.

Keras computes a frozen BatchNormalization as a product and a sum in float32. Together with the activation these are
three passes over memory, with two additional casts in half precision. The kernel also computes in float32 internally,
but TensorFlow fuses it with the convolution before it and the activation after it.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


class FusedBatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """A BatchNormalization of [n, height, width, channels] in inference mode that uses the weights of `original`."""

    def __init__(self, original: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=original.dtype_policy, name=original.name)
        self.original = original

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        """Returns the normalized inputs, with the same shape and dtype."""
        layer = self.original
        weights = (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        scale, offset, mean, variance = (ops.cast(weight, "float32") for weight in weights)
        return tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=scale,
            offset=offset,
            mean=mean,
            variance=variance,
            epsilon=layer.epsilon,
            is_training=False,
        ).y


def fuse_batch_norm(model: keras.Model) -> keras.Model:
    """Returns a network equivalent to a functional model in inference mode, which shares its layers and weights."""
    bare = keras.Model(model.input, model.output)  # without the optimizer, which would be cloned too
    return keras.models.clone_model(
        bare, clone_function=lambda layer: FusedBatchNormalization(layer) if _can_be_fused(layer) else layer
    )


def _can_be_fused(layer: keras.Layer) -> bool:
    """Returns whether the kernel supports this layer: images with channels last, scaled and centered."""
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and layer.compute_dtype in ("float32", "float16", "bfloat16")
    )
