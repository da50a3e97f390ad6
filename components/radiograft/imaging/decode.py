"""Decodes PNG and JPEG files to square 8-bit images, gray or RGB, with the same TensorFlow operations as in Serving."""

from __future__ import annotations

import functools
import io
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image

from radiograft.config.preprocessing import PAD
from radiograft.imaging import file_header, formats
from radiograft.imaging.color import CORRUPTION_ERRORS
from radiograft.imaging.enlarging import enlarge
from radiograft.imaging.geometry import GRAY, RGB, ImageInput
from radiograft.imaging.image_size import check_not_too_small, check_size

MAX_SCANS = 100  # of a JPEG: encoders write about ten, and decoding takes one pass over all pixels per scan
FLIPPED, MIRRORED = (3, 4, 7, 8), (2, 3, 6, 7)  # EXIF orientations whose rows and columns are reversed
MAX_HALVINGS = 3  # of the sides of a JPEG, whose blocks of 8 x 8 pixels can be decoded as 4 x 4, 2 x 2 or 1
MIN_REDUCED = 2  # sides of a reduced image, in sides of the target, so that resizing it still averages pixels
START_OF_SCAN = b"\xff\xda"  # cannot occur within a scan


class ImageHeader(NamedTuple):
    """Pillow's mode of an image, such as `L`, `I;16`, `RGB` or `RGBA`, and its upright sides in pixels."""

    mode: str
    height: int
    width: int


def decode(content: tf.Tensor, target: ImageInput) -> tf.Tensor:
    """Decodes a PNG or JPEG, turns it upright as its EXIF orientation says, and resizes it with antialiasing.

    For a gray target, color becomes luminance; for an RGB target, gray is repeated in three channels. Alpha is dropped
    and 16 bits are reduced to 8. If a network enlarges the images, they are first resized to its input.

    Args:
        content: Scalar string tensor, the encoded file.
        target: Side of the square, treatment of the aspect ratio, range of 16-bit values, number of channels, and the
            network that enlarges the images.

    Returns:
        uint8 [size, size, channels].

    Raises:
        tf.errors.InvalidArgumentError: The content is not a PNG or JPEG, or is truncated.
        FileNotFoundError, ValueError: The network that enlarges the images is missing or another one.
    """
    if target.enlarged_by:
        return enlarge(decode(content, target.before_enlarging()), target.enlarged_by)
    header, channels = file_header.parse_header(content), target.channels
    halvings = _count_halvings(header.sides, target) if target.reduced_jpeg else None
    image = _decode_pixels(content, header.inks > 3, channels, halvings)
    if target.gray_range:
        image = tf.cond(
            header.has_16_bits,
            lambda: _scale(tf.io.decode_png(content, channels=channels, dtype=tf.uint16), *target.gray_range),
            lambda: tf.cast(image, tf.float32),
        )
    image.set_shape([None, None, channels])
    image = tf.cond(header.orientation > 1, lambda: _turn_upright(image, header.orientation), lambda: image)
    image.set_shape([None, None, channels])
    height, width = tf.unstack(tf.shape(image)[:2])
    lengths = tf.cast(tf.stack([height, width]), tf.float32)
    if halvings is not None:  # a side of 5 is reduced to 3 rows, of which the last is only half within the image
        sides = tf.cast(tf.where(header.orientation > 4, header.sides[::-1], header.sides), tf.float32)
        lengths = tf.where(halvings > 0, sides / tf.cast(2**halvings, tf.float32), lengths)
    # Resizing rows, then columns, with the other axis as channels is faster and bit-identical to tf.image.resize.
    rows = _resize_rows(tf.reshape(image, [height, width * channels]), lengths, target)
    columns = tf.reshape(_exchange_axes(rows, width, channels), [width, target.size * channels])
    resized = _exchange_axes(_resize_rows(columns, lengths[::-1], target), target.size, channels)
    return tf.cast(tf.round(resized), tf.uint8)  # weighted means stay within 0 to 255


def _exchange_axes(rows: tf.Tensor, columns: tf.Tensor | int, channels: int) -> tf.Tensor:
    """Returns [columns, rows, channels] for [rows, columns x channels]."""
    return tf.transpose(tf.reshape(rows, [tf.shape(rows)[0], columns, channels]), [1, 0, 2])


def _count_halvings(sides: tf.Tensor, target: ImageInput) -> tf.Tensor:
    """Returns how often a JPEG can be halved, 0 to MAX_HALVINGS, until a side is below MIN_REDUCED of the target's."""
    shortest = tf.reduce_min(sides)
    allowed = [shortest >= 2**count * MIN_REDUCED * target.size for count in range(1, MAX_HALVINGS + 1)]
    return tf.add_n([tf.cast(each, tf.int32) for each in allowed])


def _decode_pixels(content: tf.Tensor, is_cmyk: tf.Tensor, channels: int, halvings: tf.Tensor | None) -> tf.Tensor:
    """Decodes an image to uint8 [height, width, channels], with its sides halved as often as given."""

    def whole() -> tf.Tensor:
        plain = functools.partial(tf.io.decode_image, content, channels=channels, expand_animations=False)
        return tf.cond(is_cmyk, functools.partial(_decode_cmyk, content, channels), plain)

    def reduced(ratio: int) -> tf.Tensor:
        plain = functools.partial(tf.io.decode_jpeg, content, channels=channels, ratio=ratio)
        return tf.cond(is_cmyk, functools.partial(_decode_cmyk, content, channels, ratio), plain)

    if halvings is None:
        return whole()
    ratios = (2**count for count in range(1, MAX_HALVINGS + 1))
    return tf.switch_case(halvings, [whole, *(functools.partial(reduced, ratio) for ratio in ratios)])


def _decode_cmyk(content: tf.Tensor, channels: int, ratio: int = 1) -> tf.Tensor:
    """Decodes a JPEG with four inks; TensorFlow converts them to RGB, but not to gray."""
    image = tf.io.decode_jpeg(content, channels=RGB, ratio=ratio)
    return tf.image.rgb_to_grayscale(image) if channels == GRAY else image


def _scale(image: tf.Tensor, low: int, high: int) -> tf.Tensor:
    """Scales gray values to float32 from 0 to 255; those outside the range become black or white."""
    return tf.clip_by_value((tf.cast(image, tf.float32) - low) * (255.0 / (high - low)), 0.0, 255.0)


def _turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Applies an EXIF orientation, 2 to 8, to [height, width, channels]: first a transposition, then the mirrors."""
    image = tf.cond(orientation > 4, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    steps = [tf.where(tf.reduce_any(tf.equal(orientation, mirrored)), -1, 1) for mirrored in (FLIPPED, MIRRORED)]
    return image[:: steps[0], :: steps[1]]


def _resize_rows(rows: tf.Tensor, lengths: tf.Tensor, target: ImageInput) -> tf.Tensor:
    """Resizes [count, columns] to float32 [size, columns] with antialiasing; rows outside the image are black.

    Args:
        rows: the image.
        lengths: its length in rows and in columns, float32 [2].
        target: the square.
    """
    start, length = tf.constant(0.0), tf.constant(float(target.size))
    if target.resize == PAD:  # as `place_in_square`
        longest = tf.cast(tf.reduce_max(lengths), tf.float64)
        scaled = tf.round(target.size * tf.cast(lengths[0], tf.float64) / longest)
        length = tf.maximum(tf.cast(scaled, tf.float32), 1.0)
        start = tf.floor((target.size - length) / 2)
    resized = tf.raw_ops.ScaleAndTranslate(
        images=rows[tf.newaxis, :, tf.newaxis, :],
        size=[target.size, 1],
        scale=tf.stack([length / lengths[0], 1.0]),
        translation=tf.stack([start, 0.0]),
        kernel_type="triangle",
        antialias=True,
    )
    return tf.squeeze(resized, [0, 2])


def encode_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 or uint16 [height, width] or [height, width, 3] as an uncompressed PNG."""
    return bytes(tf.io.encode_png(pixels.reshape(*pixels.shape[:2], -1), compression=0).numpy())


class ServedImage(NamedTuple):
    """An image as the served model takes it, and the mode of a file of another format: `DICOM`, or Pillow's mode."""

    content: bytes
    mode: str = ""


def as_served(content: bytes, channels: int = GRAY) -> ServedImage:
    """Returns a PNG or JPEG file unchanged, and BMP, DICOM, GIF, TIFF and WebP images encoded as PNG.

    Args:
        content: The file.
        channels: Of the model; DICOM files in color are read only for a model of RGB images.

    Raises:
        TooSmallError: A side of a converted image is below MIN_SIDE.
        UnsupportedFileError: The content is not an image, or of an unsupported kind; the message is the reason.
        ValueError: A converted image has more than MAX_PIXELS pixels.
    """
    kind = formats.recognize(content)
    if kind == formats.DICOM:
        from radiograft.imaging import dicom

        return ServedImage(encode_png(dicom.read(content, channels).pixels), kind)
    if kind in formats.CONVERTED:
        pixels, mode = formats.to_pixels(content, kind)
        return ServedImage(encode_png(pixels), mode)
    if kind not in formats.SERVED:
        raise formats.UnsupportedFileError(formats.reason_unreadable(content))
    return ServedImage(content)


def inspect_image(content: bytes) -> ImageHeader:
    """Reads only the header of a PNG or JPEG.

    Raises:
        TooSmallError: A side is below MIN_SIDE.
        ValueError: The content is not a readable image, a JPEG has more than MAX_SCANS scans, or the image has more
            than MAX_PIXELS pixels.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats.SERVED) as image:
            is_png, exif = image.format == "PNG", image.info.get("exif", b"")
            header = ImageHeader(image.mode, image.height, image.width)
    except CORRUPTION_ERRORS as error:
        raise ValueError("not a readable image") from error
    if not is_png and content.count(START_OF_SCAN) > MAX_SCANS:
        raise ValueError(f"a JPEG must have at most {MAX_SCANS} scans")
    check_size(header.height, header.width)
    check_not_too_small(header.height, header.width)
    return ImageHeader(header.mode, header.width, header.height) if _is_transposed(exif) else header


def _is_transposed(exif: bytes) -> bool:
    try:
        tags = Image.Exif()
        tags.load(exif)
        return tags.get(ExifTags.Base.Orientation) in range(5, 9)
    except CORRUPTION_ERRORS:
        return False
