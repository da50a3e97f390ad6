"""Networks of super-resolution: a generator whose output always agrees with its input, and a discriminator.

The output of the generator, shrunk as preprocess shrinks images, is its input again. A last layer projects onto the
images for which this holds, so that the network can only add what shrinking removes: detail.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from radiograft.backbones import get_backbone
from radiograft.imaging.enlarging import ENLARGED, SMALL
from radiograft.imaging.geometry import GRAY
from radiograft.imaging.scaling import bicubic_matrix, detail_free_matrix, shrink_matrix
from radiograft.models.backbone import COLORS, read_normalization
from radiograft.models.spec import DEFAULT_NAMES, SERVING_SIGNATURE
from radiograft.registry.generators import GeneratorSpec

WHITE = 255.0
DOUBLING = 2  # of each sub-pixel convolution
LEAK = 0.2  # slope of LeakyReLU below 0 in the discriminator
# Projections onto the range of gray values and back. Radiographs need hardly any. For noise of full contrast with
# random detail, 4 of them leave errors of up to 9 gray levels, 8 up to 2, and 16 none.
RANGE_STEPS = 16


def shrink(images: Any, scale: int) -> Any:
    """Shrinks images as preprocess does, without rounding.

    Args:
        images: [n, height, width, channels]; both sides are multiples of the scale and known when the graph is built.
        scale: whole number.

    Returns:
        float32 [n, height / scale, width / scale, channels].
    """
    return _resize(images, shrink_matrix(images.shape[1], scale), shrink_matrix(images.shape[2], scale))


def enlarge_bicubic(images: Any, scale: int) -> Any:
    """Enlarges images by bicubic interpolation: float32 [n, height x scale, width x scale, channels], not clipped."""
    return _resize(images, bicubic_matrix(images.shape[1], scale), bicubic_matrix(images.shape[2], scale))


def remove_detail(images: Any, scale: int) -> Any:
    """Returns images without their detail, the part that shrinking removes; shapes as `shrink` takes them."""
    return _enlarge_without_detail(shrink(images, scale), scale)


def project(images: Any, small: Any, scale: int, range_steps: int = RANGE_STEPS) -> Any:
    """Returns images near the given ones that, shrunk, are `small`.

    They stay within 0 to 255 as far as `small` allows: no image of this range shrinks to a pattern with sharp edges.

    Args:
        images: [n, height, width, channels].
        small: [n, height / scale, width / scale, channels], 0 to 255.
        scale: whole number.
        range_steps: how often values outside 0 to 255 are clipped, followed by another projection.

    Returns:
        float32, the shape of `images`.
    """
    images = ops.cast(images, "float32")
    small = ops.cast(small, "float32")
    for step in range(range_steps + 1):
        within = ops.clip(images, 0.0, WHITE) if step else images
        images = within + _enlarge_without_detail(small - shrink(within, scale), scale)
    return images


def to_pixels(images: Any) -> Any:
    """Rounds and clips to uint8."""
    return ops.cast(ops.clip(ops.round(images), 0.0, WHITE), "uint8")


def _enlarge_without_detail(images: Any, scale: int) -> Any:
    return _resize(images, detail_free_matrix(images.shape[1], scale), detail_free_matrix(images.shape[2], scale))


def _resize(images: Any, rows: np.ndarray, columns: np.ndarray) -> Any:
    """Applies a matrix to each axis of [n, height, width, channels]."""
    resized = ops.einsum("ai,nijc->najc", ops.cast(rows, "float32"), ops.cast(images, "float32"))
    return ops.einsum("bj,najc->nabc", ops.cast(columns, "float32"), resized)


@keras.saving.register_keras_serializable("radiograft")
class SubPixel(keras.layers.Layer):  # type: ignore[misc]
    """Moves channels to positions: [n, height, width, 4 x channels] to [n, 2 x height, 2 x width, channels]."""

    def call(self, inputs: Any) -> Any:
        """Returns the rearranged activation."""
        return ops.depth_to_space(inputs, DOUBLING)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        count, height, width, channels = input_shape
        sides = (None if side is None else side * DOUBLING for side in (height, width))
        return (count, *sides, None if channels is None else channels // DOUBLING**2)


@keras.saving.register_keras_serializable("radiograft")
class ConsistentOutput(keras.layers.Layer):  # type: ignore[misc]
    """Adds a network's residual to bicubic interpolation and projects the sum; see `project`.

    Args:
        scale: ratio of the sides of output and input.
    """

    def __init__(self, scale: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scale = scale

    def call(self, inputs: list[Any], training: bool = False) -> Any:
        """Returns float32 images of about 0 to 255 for the input image, 0 to 255, and the residual in units of 255.

        In training, values outside that range are left to the loss.
        """
        small, residual = inputs
        enlarged = enlarge_bicubic(small, self.scale) + WHITE * residual
        return project(enlarged, small, self.scale, 0 if training else RANGE_STEPS)

    def compute_output_shape(self, input_shape: list[tuple[int | None, ...]]) -> tuple[int | None, ...]:
        """Returns the shape of the residual."""
        return input_shape[1]

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "scale": self.scale}


def build_generator(scale: int, channels: int = GRAY, *, filters: int, blocks: int, seed: int = 0) -> keras.Model:
    """Builds a generator: residual blocks, sub-pixel convolutions, and a projection onto what its input allows.

    Its last convolution is zero, so that before training it is bicubic interpolation with projection.

    Args:
        scale: 2 or 4.
        channels: of the images.
        filters: channels of the residual blocks.
        blocks: their number.
        seed: of the initial weights.

    Returns:
        A network from [n, height, width, channels], 0 to 255, to float32 [n, scale x height, scale x width, channels].
        Shrunk, its output is its input. The sides must be known when it is called.

    Raises:
        ValueError: the scale is not 2 or 4.

    Example:
        >>> generator = build_generator(2, filters=4, blocks=1)
        >>> generator(np.full((1, 8, 8, 1), 100.0)).shape.as_list()
        [1, 16, 16, 1]
    """
    if scale not in (DOUBLING, DOUBLING**2):
        raise ValueError(f"model_scale must be 2 or 4, got {scale}")
    seeds = itertools.count(seed * 1000)

    def convolution(width: int, name: str, activation: str | None = None) -> keras.layers.Conv2D:
        initial = keras.initializers.GlorotUniform(next(seeds))
        return keras.layers.Conv2D(
            width, 3, padding="same", activation=activation, kernel_initializer=initial, name=name
        )

    image = keras.Input((None, None, channels), dtype="float32", name=DEFAULT_NAMES.image)
    first = outputs = convolution(filters, "first")(keras.layers.Rescaling(1 / WHITE, name="scaled")(image))
    for number in range(blocks):
        inner = convolution(filters, f"block_{number}_a", "relu")(outputs)
        inner = convolution(filters, f"block_{number}_b")(inner)
        outputs = keras.layers.Add(name=f"block_{number}")([outputs, inner])
    outputs = keras.layers.Add(name="blocks")([first, convolution(filters, "after_blocks")(outputs)])
    for number in range(scale // DOUBLING):
        outputs = SubPixel(name=f"enlarge_{number}")(convolution(filters * DOUBLING**2, f"before_{number}")(outputs))
        outputs = keras.layers.ReLU(name=f"after_{number}")(outputs)
    residual = keras.layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros", name="residual")(outputs)
    enlarged = ConsistentOutput(scale, dtype="float32", name="enlarged")([image, residual])
    return keras.Model(image, enlarged, name="generator")


def build_discriminator(channels: int = GRAY, *, filters: int, seed: int = 0) -> keras.Model:
    """Builds a network from image crops, 0 to 255, to how real they look, float32 [n]: an unbounded score.

    It has no batch normalization, so that each crop is scored by itself and several devices compute the same.
    """
    initializers = [keras.initializers.GlorotUniform(seed + number) for number in range(5)]
    image = keras.Input((None, None, channels), dtype="float32", name=DEFAULT_NAMES.image)
    outputs = keras.layers.Rescaling(2 / WHITE, -1.0, name="scaled")(image)
    for number, (width, stride) in enumerate(((1, 1), (1, 2), (2, 2), (4, 2))):
        outputs = keras.layers.Conv2D(
            filters * width, 3, stride, "same", kernel_initializer=initializers[number], name=f"convolution_{number}"
        )(outputs)
        outputs = keras.layers.LeakyReLU(LEAK, name=f"activation_{number}")(outputs)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(outputs)
    score = keras.layers.Dense(1, dtype="float32", kernel_initializer=initializers[-1], name="score")(pooled)
    return keras.Model(image, score[:, 0], name="discriminator")


def export_generator(generator: keras.Model, spec: GeneratorSpec, folder: Path) -> None:
    """Writes a SavedModel: `small`, uint8 [n, size, size, channels], to `enlarged`, uint8 of `scale` times the size.

    The size is `image_size / scale`. Shrunk by preprocess, the output is the input up to rounding.
    """
    side = spec.image_size // spec.scale
    shape = [None, side, side, spec.channels]

    def serve(small: tf.Tensor) -> dict[str, tf.Tensor]:
        return {ENLARGED: to_pixels(generator(tf.cast(small, tf.float32), training=False))}

    module = tf.Module()
    module.weights = [variable.value for variable in generator.variables]
    served = tf.function(serve, input_signature=[tf.TensorSpec(shape, tf.uint8, name=SMALL)])
    tf.saved_model.save(module, str(folder), signatures={SERVING_SIGNATURE: served})


class FeatureDistance:
    """The distance between two batches of crops in the features of a backbone's block, whose weights are frozen."""

    def __init__(self, backbone: keras.Model, tap: str) -> None:
        """Takes a network of `build_backbone` and the name of one of its layers."""
        self.normalization = read_normalization(backbone)
        self.channels = int(backbone.input_shape[-1])
        normalized = backbone.get_layer(DEFAULT_NAMES.normalized).output
        self.features = keras.Model(normalized, backbone.get_layer(tap).output)
        self.features.trainable = False

    def __call__(self, images: Any, others: Any) -> Any:
        """Returns the mean absolute difference of the features of each pair, relative to those of `others`, [n]."""
        features, wanted = (self.features(self._normalize(batch), training=False) for batch in (images, others))
        features, wanted = ops.cast(features, "float32"), ops.stop_gradient(ops.cast(wanted, "float32"))
        size = ops.mean(ops.abs(wanted), axis=(1, 2, 3)) + 1e-6
        return ops.mean(ops.abs(features - wanted), axis=(1, 2, 3)) / size

    def _normalize(self, images: Any) -> Any:
        """Does what the first layers of the backbone do, which would round to 8 bits and have no gradient."""
        chosen = self.normalization
        planes = [
            ((images if self.channels == GRAY else images[..., place : place + 1]) / WHITE - mean) / std
            for place, mean, std in (
                (0 if self.channels == GRAY else COLORS.index(color), mean, std)
                for color, mean, std in zip(chosen.channels, chosen.mean, chosen.std, strict=True)
            )
        ]
        return ops.concatenate(planes, axis=-1)


def first_tap(name: str) -> str:
    """Returns the last layer of a backbone's second block: local texture, at an eighth or a quarter of the side."""
    return get_backbone(name).taps[1]
