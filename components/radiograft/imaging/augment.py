"""Augments a batch of images with one affine interpolation per image.

The random draws depend only on (seed, image id, view), so a batch is reproducible on any machine.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from keras import ops

from radiograft.config.augmentation import Augmentation

DRAWS = 13
RESOLUTION = 2**24  # float32 represents every multiple of 2**-24 below 1 exactly
HIGH_BITS = 2**12  # the low bits of a draw choose operations, independently of the high ones
OPERATIONS: dict[str, tuple[int, ...]] = {  # range of the transformation, and the draws that it uses
    "rotation_range": (0,),
    "width_shift_range": (1,),
    "height_shift_range": (2,),
    "shear_range": (3,),
    "zoom_range": (4, 5),
    "brightness_range": (8,),
    "contrast_range": (9,),
    "channel_shift_range": (10,),
    "hue_range": (11,),
    "saturation_range": (12,),
}
FACTORS = {"brightness_range", "contrast_range", "saturation_range"}  # 1 changes nothing


def draw_parameters(image_ids: tf.Tensor, view: tf.Tensor, seed: int, numbers: range = range(DRAWS)) -> tf.Tensor:
    """Draws uniform random numbers that depend only on seed, image id and view, not on batch or order.

    Args:
        image_ids: string [n].
        view: Integer scalar from 0, the number of the augmented copy of an image.
        seed: Seed of the run.
        numbers: Which of an image's random numbers; the augmentation uses the first DRAWS.

    Returns:
        float32 [n, len(numbers)] in [0, 1).
    """
    suffixes = "/" + tf.strings.as_string(view) + "/" + tf.strings.as_string(tf.range(numbers.start, numbers.stop))
    keys = image_ids[:, None] + suffixes[None, :]
    buckets = tf.strings.to_hash_bucket_strong(keys, RESOLUTION, key=[seed, 0x72616469])
    return tf.cast(buckets, tf.float32) / RESOLUTION


def augment(images: tf.Tensor, draws: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Rotates, shifts, shears, zooms and flips each image about its center, then changes its values.

    The order of the latter is channel shift, contrast, brightness, hue and saturation.

    Args:
        images: uint8 [n, size, size, channels]; three channels for hue and saturation.
        draws: float32 [n, DRAWS] in [0, 1).
        augmentation: Ranges of the transformations.

    Returns:
        uint8 of the same shape. `Augmentation()` returns the images unchanged.
    """
    if augmentation == Augmentation():
        return images
    draws = choose_operations(draws, augmentation)
    size = images.shape[1]
    moved = ops.image.affine_transform(
        ops.cast(images, "float32"),
        affine_matrix(draws, augmentation, size),
        interpolation="bilinear",
        fill_mode=augmentation.fill_mode,
        fill_value=augmentation.cval,
        data_format="channels_last",
    )
    if augmentation.channel_shift_range:
        moved = _shift_channels(moved, draws[:, 10], augmentation.channel_shift_range)
    contrast, brightness = augmentation.factors("contrast_range"), augmentation.factors("brightness_range")
    if contrast != (1, 1):
        mean = ops.mean(moved, axis=(1, 2, 3), keepdims=True)
        moved = mean + (moved - mean) * _factors(draws[:, 9], contrast)
    moved = ops.clip(moved * _factors(draws[:, 8], brightness), 0, 255)
    if augmentation.changes_color:
        moved = _change_color(moved, draws, augmentation)
    return ops.cast(ops.round(moved), "uint8")


def choose_operations(draws: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Returns draws with which each image gets `operations` of the transformations, at `strength` of their ranges.

    The draws of the others are those that change nothing.

    Args:
        draws: float32 [n, DRAWS] in [0, 1).
        augmentation: Ranges of the transformations.

    Returns:
        float32 [n, DRAWS]. With the default `operations` and `strength` the draws themselves.
    """
    active = [name for name in OPERATIONS if getattr(augmentation, name) != getattr(Augmentation(), name)]
    if not active or (not augmentation.operations and augmentation.strength == 1):
        return draws
    columns = np.array([[place in OPERATIONS[name] for place in range(DRAWS)] for name in active], dtype="float32")
    neutral = np.full(DRAWS, 0.5, dtype="float32")
    for name in FACTORS.intersection(active):
        low, high = augmentation.factors(name)
        neutral[OPERATIONS[name][0]] = (1 - low) / (high - low) if high > low else 0.5
    order = ops.mod(ops.take(draws, [OPERATIONS[name][0] for name in active], axis=1) * HIGH_BITS, 1.0)
    ranks = ops.argsort(ops.argsort(order, axis=1), axis=1)
    chosen = ops.cast(ranks < (augmentation.operations or len(active)), "float32")
    share = augmentation.strength * ops.matmul(chosen, columns) + (1 - columns.sum(axis=0))
    return share * draws + (1 - share) * neutral


def _shift_channels(images: tf.Tensor, draws: tf.Tensor, most: float) -> tf.Tensor:
    """Adds one number to all values of an image and keeps them in its range, as Keras's ImageDataGenerator."""
    darkest, brightest = (each(images, axis=(1, 2, 3), keepdims=True) for each in (ops.min, ops.max))
    return ops.clip(images + _factors(draws, (-most, most)), darkest, brightest)


def _change_color(images: tf.Tensor, draws: tf.Tensor, augmentation: Augmentation) -> tf.Tensor:
    """Turns the hue of RGB images and scales their saturation, both by one number an image; 0 to 255."""
    hue, saturation, value = ops.split(ops.image.rgb_to_hsv(images / 255.0), 3, axis=-1)
    turned = ops.mod(hue + _factors(draws[:, 11], (-augmentation.hue_range, augmentation.hue_range)), 1.0)
    scaled = ops.clip(saturation * _factors(draws[:, 12], augmentation.factors("saturation_range")), 0, 1)
    return 255.0 * ops.image.hsv_to_rgb(ops.concatenate([turned, scaled, value], axis=-1))


def affine_matrix(draws: tf.Tensor, augmentation: Augmentation, size: int) -> tf.Tensor:
    """Returns the matrix that maps each output pixel to its input pixel, composed as in Keras's ImageDataGenerator.

    The order is rotation, shift, shear, zoom and flips, all about the center, in (x, y) coordinates.

    Args:
        draws: float32 [n, DRAWS] in [0, 1).
        augmentation: Ranges of the transformations.
        size: Side of the images in pixels.

    Returns:
        float32 [n, 8]: a0 a1 a2 b0 b1 b2 0 0 with x' = a0 x + a1 y + a2 and y' = b0 x + b1 y + b2.
    """
    spread = 2.0 * draws - 1.0
    angle = spread[:, 0] * math.radians(augmentation.rotation_range)
    shear = spread[:, 3] * math.radians(augmentation.shear_range)
    right = spread[:, 1] * augmentation.width_shift_range * size
    down = spread[:, 2] * augmentation.height_shift_range * size
    zoom_x = (1.0 + spread[:, 4] * augmentation.zoom_range) * _sign(draws[:, 6], augmentation.horizontal_flip)
    zoom_y = (1.0 + spread[:, 5] * augmentation.zoom_range) * _sign(draws[:, 7], augmentation.vertical_flip)
    cos, sin = ops.cos(angle), ops.sin(angle)
    a0, a1 = cos * zoom_x, (-cos * ops.sin(shear) + -sin * ops.cos(shear)) * zoom_y
    b0, b1 = sin * zoom_x, (-sin * ops.sin(shear) + cos * ops.cos(shear)) * zoom_y
    center = (size - 1) / 2.0
    a2 = cos * right - sin * down + center - center * (a0 + a1)
    b2 = sin * right + cos * down + center - center * (b0 + b1)
    zero = ops.zeros_like(a0)
    return ops.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def _factors(draws: tf.Tensor, bounds: tuple[float, float]) -> tf.Tensor:
    low, high = bounds
    return ops.reshape(low + (high - low) * draws, (-1, 1, 1, 1))


def _sign(draws: tf.Tensor, flip: bool) -> tf.Tensor:
    return ops.where(draws < 0.5, -1.0, 1.0) if flip else ops.ones_like(draws)
