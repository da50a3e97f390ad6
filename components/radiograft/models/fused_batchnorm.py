"""Runs a frozen network's batch normalization as one kernel, which TensorFlow merges with what stands beside it.

Keras spells it out as a product and a sum in float32: three passes over memory with the activation, in half precision
two casts more. The kernel also works in float32 inside, is one with the activation behind it, and vanishes into the
convolution before it.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


class FusedBatchNormalization(keras.layers.Layer):  # type: ignore[misc]
    """A BatchNormalization of [n, height, width, channels] in inference mode, with that layer's own weights."""

    def __init__(self, original: keras.layers.BatchNormalization) -> None:
        super().__init__(dtype=original.dtype_policy, name=original.name)
        self.original = original

    def call(self, inputs: Any, mask: Any = None) -> Any:  # noqa: ARG002
        """Shape and dtype of the inputs stay."""
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
    """A network equal to the functional `model` in inference mode, which shares its layers and their weights."""
    bare = keras.Model(model.input, model.output)  # of a compiled one the optimizer would be copied too
    return keras.models.clone_model(
        bare, clone_function=lambda layer: FusedBatchNormalization(layer) if _can_be_fused(layer) else layer
    )


def _can_be_fused(layer: keras.Layer) -> bool:
    """Whether the kernel knows this layer: images with channels last, scaled and centered."""
    return (
        isinstance(layer, keras.layers.BatchNormalization)
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and layer.compute_dtype in ("float32", "float16", "bfloat16")
    )
