"""From an encoded image to a square of 8-bit gray, by the same TensorFlow operations in preprocess and in serving."""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from radiograft.imaging.limits import check_not_too_small, check_size

IN_COLOR = " in color"  # behind the mode of an image whose channels differ
FORMATS = ("PNG", "JPEG")  # Pillow knows fifty more, some of which run other programs
# What Pillow raises for damage; where it reads what lies behind the pixels, it lets pass what it catches in a header.
CORRUPTION_ERRORS = (
    OSError,
    Image.DecompressionBombError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    struct.error,
)
MAX_SCANS = 100  # of a JPEG: encoders write about ten, and each costs a pass over all pixels, however few bytes it has
START_OF_SCAN = b"\xff\xda"  # which cannot occur within one
COLOR_THRESHOLD = 24  # levels between a pixel's channels, more than JPEG adds to gray
MIN_COLOR_FRACTION = 0.01  # of an image: more than a marker


class ImageHeader(NamedTuple):
    """An image's mode as Pillow names it (`L`, `I;16`, `RGB`, `RGBA`) and its sides in pixels."""

    mode: str
    height: int
    width: int


def decode(content: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes a PNG or JPEG and resizes it, antialiased, without keeping its proportions.

    Args:
        content: scalar string, the encoded file. Color becomes luminance, alpha is dropped, 16 bits become 8.
        size: side of the square, pixels.

    Returns:
        uint8 [size, size, 1].

    Raises:
        tf.errors.InvalidArgumentError: the content is no such image or is truncated.
    """
    image = tf.io.decode_image(content, channels=1, expand_animations=False)
    image.set_shape([None, None, 1])
    height, width = tf.unstack(tf.shape(image)[:2])
    # Rows, then columns, each as channels of the other: bit for bit what tf.image.resize gives, in less time.
    lower = _shrink(tf.reshape(image, [height, width]), height, size)
    small = tf.transpose(_shrink(tf.transpose(lower), width, size))
    return tf.cast(tf.round(small[..., tf.newaxis]), tf.uint8)  # means of values from 0 to 255


def _shrink(rows: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
    """Makes `size` rows of `count`, antialiased; float32 [size, columns]."""
    shrunk = tf.raw_ops.ScaleAndTranslate(
        images=rows[tf.newaxis, :, tf.newaxis, :],
        size=[size, 1],
        scale=tf.stack([size / tf.cast(count, tf.float32), 1.0]),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    return tf.squeeze(shrunk, [0, 2])


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG of uint8 [height, width] or [height, width, 3], without compression."""
    return bytes(tf.io.encode_png(pixels.reshape(*pixels.shape[:2], -1), compression=0).numpy())


def inspect_image(content: bytes) -> ImageHeader:
    """Reads an image's header only.

    Raises:
        ValueError: no image, a JPEG of more scans than MOST_SCANS, more pixels than limits.LARGEST_PIXELS or,
            TooSmallError, a side below SMALLEST_SIDE.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            header, is_png = ImageHeader(image.mode, image.height, image.width), image.format == "PNG"
    except CORRUPTION_ERRORS as error:
        raise ValueError("not a readable image") from error
    if not is_png and content.count(START_OF_SCAN) > MAX_SCANS:
        raise ValueError(f"a JPEG must have at most {MAX_SCANS} scans")
    check_size(header.height, header.width)
    check_not_too_small(header.height, header.width)
    return header


def has_color(content: bytes) -> bool:
    """Whether more than COLORED_PART of an image that can be decoded is colored: photographs, overlays, Doppler.

    Raises:
        ValueError: what TensorFlow does not look at is damaged, such as a PNG's text behind its pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.draft("RGB", (256, 256))
            channels = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX), "int16")
    except CORRUPTION_ERRORS as error:
        raise ValueError("not a readable image") from error
    return bool((np.ptp(channels, axis=2) > COLOR_THRESHOLD).mean() > MIN_COLOR_FRACTION)
