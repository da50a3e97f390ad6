"""Decodes PNG and JPEG files to square 8-bit gray images, with the same TensorFlow operations as in Serving."""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from radiograft.imaging.limits import check_not_too_small, check_size

FORMATS = ("PNG", "JPEG")  # Pillow supports fifty more, some of which run external programs
# Pillow wraps exceptions raised in a header but not those raised in chunks after the pixels.
CORRUPTION_ERRORS = (
    OSError,
    Image.DecompressionBombError,
    SyntaxError,
    ValueError,
    IndexError,
    TypeError,
    struct.error,
)
MAX_SCANS = 100  # of a JPEG: encoders write about ten, and decoding takes one pass over all pixels per scan
START_OF_SCAN = b"\xff\xda"  # cannot occur within a scan
COLOR_THRESHOLD = 24  # difference between a pixel's channels; JPEG artifacts in gray images stay below
MIN_COLOR_FRACTION = 0.01  # of the pixels; a colored marker stays below


class ImageHeader(NamedTuple):
    """Pillow's mode of an image, such as `L`, `I;16`, `RGB` or `RGBA`, and its sides in pixels."""

    mode: str
    height: int
    width: int


def decode(content: tf.Tensor, size: int) -> tf.Tensor:
    """Decodes a PNG or JPEG and resizes it to a square with antialiasing, ignoring the aspect ratio.

    Color becomes luminance, alpha is dropped and 16 bits are reduced to 8.

    Args:
        content: Scalar string tensor, the encoded file.
        size: Side of the square in pixels.

    Returns:
        uint8 [size, size, 1].

    Raises:
        tf.errors.InvalidArgumentError: The content is not a PNG or JPEG, or is truncated.
    """
    image = tf.io.decode_image(content, channels=1, expand_animations=False)
    image.set_shape([None, None, 1])
    height, width = tf.unstack(tf.shape(image)[:2])
    # Resizing rows, then columns, with the other axis as channels is faster and bit-identical to tf.image.resize.
    resized_rows = _resize_rows(tf.reshape(image, [height, width]), height, size)
    resized = tf.transpose(_resize_rows(tf.transpose(resized_rows), width, size))
    return tf.cast(tf.round(resized[..., tf.newaxis]), tf.uint8)  # weighted means stay within 0 to 255


def _resize_rows(rows: tf.Tensor, count: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes [count, columns] to float32 [size, columns] with antialiasing."""
    resized = tf.raw_ops.ScaleAndTranslate(
        images=rows[tf.newaxis, :, tf.newaxis, :],
        size=[size, 1],
        scale=tf.stack([size / tf.cast(count, tf.float32), 1.0]),
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    return tf.squeeze(resized, [0, 2])


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 [height, width] or [height, width, 3] as an uncompressed PNG."""
    return bytes(tf.io.encode_png(pixels.reshape(*pixels.shape[:2], -1), compression=0).numpy())


def inspect_image(content: bytes) -> ImageHeader:
    """Reads only the header of a PNG or JPEG.

    Raises:
        TooSmallError: A side is below MIN_SIDE.
        ValueError: The content is not a readable image, a JPEG has more than MAX_SCANS scans, or the image has more
            than MAX_PIXELS pixels.
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
    """Returns whether more than MIN_COLOR_FRACTION of an image is colored, as in photographs, overlays and Doppler.

    Raises:
        ValueError: Pillow cannot read the image, for example because of a corrupt text chunk after the pixels of a
            PNG, which TensorFlow ignores.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            image.draft("RGB", (256, 256))
            channels = np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BOX), "int16")
    except CORRUPTION_ERRORS as error:
        raise ValueError("not a readable image") from error
    return bool((np.ptp(channels, axis=2) > COLOR_THRESHOLD).mean() > MIN_COLOR_FRACTION)
