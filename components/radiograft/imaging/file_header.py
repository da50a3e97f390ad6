"""Reads from the header of a JPEG or PNG, in a graph, what TensorFlow's decoder ignores: orientation, inks and bits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

MAX_BYTES = 2**20  # read from the beginning of a file
PADDING = 64  # zeros behind the end, so that every field can be read
MAX_SEGMENTS = 1000  # of a JPEG or chunks of a PNG, so that a malformed file ends the search
MAX_TAGS, TAG_BYTES = 256, 12  # of the EXIF data
ORIENTATION = 0x0112  # tag of the EXIF orientation, from 1 (upright) to 8
START_OF_IMAGE, APP1, START_OF_SCAN = 0xFFD8, 0xFFE1, 0xFFDA
FRAMES = [0xFFC0 + number for number in range(16) if number not in (4, 8, 12)]  # markers with the number of inks
EXIF, PNG_EXIF, PNG_PIXELS = b"Exif\0\0", b"eXIf", b"IDAT"

Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]


class FileHeader(NamedTuple):
    """Scalar tensors of the header of an image.

    Attributes:
        orientation: EXIF orientation, 1 to 8.
        inks: number of inks of a JPEG, 0 if unknown.
        has_16_bits: whether it is a PNG of 16 bits per channel.
        sides: height and width of a JPEG as it is stored, [2], 0 if unknown.
    """

    orientation: tf.Tensor
    inks: tf.Tensor
    has_16_bits: tf.Tensor
    sides: tf.Tensor


def parse_header(content: tf.Tensor) -> FileHeader:
    """Parses the header of an encoded image, a scalar string tensor. Anything malformed counts as upright.

    Of a PNG, only EXIF data before the pixels is read, where encoders write it.
    """
    data = tf.pad(
        tf.cast(tf.io.decode_raw(tf.strings.substr(content, 0, MAX_BYTES), tf.uint8), tf.int32), [[0, PADDING]]
    )
    is_jpeg = tf.equal(_number(data, 0, 2), START_OF_IMAGE)
    exif, frame = tf.cond(is_jpeg, lambda: _search_jpeg(data), lambda: _search_png(data))
    orientation = tf.cond(exif > 0, lambda: _orientation(data, exif), lambda: 1)
    has_16_bits = ~is_jpeg & _has(data, 1, b"PNG") & tf.equal(data[24], 16)
    sides = tf.where(frame > 0, tf.stack([_number(data, frame + 5, 2), _number(data, frame + 7, 2)]), 0)
    inks = tf.where(frame > 0, _number(data, frame + 8, 2) % 256, 0)
    return FileHeader(orientation, inks, has_16_bits, sides)


def _number(data: tf.Tensor, start: tf.Tensor | int, count: int, *, little: tf.Tensor | bool = False) -> tf.Tensor:
    """Reads an unsigned number of 2 or 4 bytes; a start outside the data counts as its end, where all is 0."""
    start = tf.clip_by_value(start, 0, tf.shape(data)[0] - count)
    digits = tf.slice(data, [start], [count])
    digits = tf.where(little, digits[::-1], digits)
    return tf.reduce_sum(digits * tf.constant([256**place for place in range(count)][::-1], tf.int32))


def _has(data: tf.Tensor, start: tf.Tensor | int, text: bytes) -> tf.Tensor:
    start = tf.clip_by_value(start, 0, tf.shape(data)[0] - len(text))
    return tf.reduce_all(tf.equal(tf.slice(data, [start], [len(text)]), list(text)))


def _search_jpeg(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the EXIF data and the last frame begin, 0 if there is none."""

    def step(start: tf.Tensor, exif: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        marker, length = _number(data, start, 2), _number(data, start + 2, 2)
        is_exif = tf.equal(marker, APP1) & _has(data, start + 4, EXIF) & tf.equal(exif, 0)
        is_frame = tf.reduce_any(tf.equal(marker, FRAMES))
        is_filler = tf.equal(marker, 0xFFFF)
        is_end = tf.equal(marker, START_OF_SCAN) | (marker < 0xFF00)
        after = tf.where(is_filler, start + 1, start + 2 + tf.maximum(length, 2))
        return (
            tf.where(is_end, tf.shape(data)[0], after),
            tf.where(is_exif, start + 4 + len(EXIF), exif),
            tf.where(is_frame, start, frame),
        )

    return _loop(data, 2, step)


def _search_png(data: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns where the EXIF data begins, 0 if there is none, and 0, since a PNG has no frame."""

    def step(start: tf.Tensor, exif: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        length = _number(data, start, 4)
        after = tf.where(length < 0, tf.shape(data)[0], start + 12 + tf.minimum(length, MAX_BYTES))
        after = tf.where(_has(data, start + 4, PNG_PIXELS), tf.shape(data)[0], after)
        return after, tf.where(_has(data, start + 4, PNG_EXIF), start + 8, exif), frame

    return _loop(data, 8, step)


def _loop(data: tf.Tensor, start: int, step: Step) -> tuple[tf.Tensor, tf.Tensor]:
    variables = (tf.constant(start), tf.constant(0), tf.constant(0))

    def is_inside(start: tf.Tensor, *_: tf.Tensor) -> tf.Tensor:
        return start < tf.shape(data)[0] - PADDING

    _, exif, frame = tf.while_loop(is_inside, step, variables, maximum_iterations=MAX_SEGMENTS)
    return exif, frame


def _orientation(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Reads the orientation from the first directory of TIFF data; 1 if it is missing or malformed."""
    little = _has(data, start, b"II")
    directory = start + tf.clip_by_value(_number(data, start + 4, 4, little=little), 0, MAX_BYTES)
    count = tf.minimum(_number(data, directory, 2, little=little), MAX_TAGS)
    places = directory + 2 + tf.range(count)[:, tf.newaxis] * TAG_BYTES + tf.range(TAG_BYTES)
    tags = tf.gather(data, tf.minimum(places, tf.shape(data)[0] - 1))
    order = tf.where(little, [1, 256], [256, 1])
    is_orientation = tf.equal(tf.reduce_sum(tags[:, 0:2] * order, 1), ORIENTATION)
    values = tf.boolean_mask(tf.reduce_sum(tags[:, 8:10] * order, 1), is_orientation)
    found = tf.concat([values, [1]], 0)[0]
    is_tiff = little | _has(data, start, b"MM")
    return tf.where(is_tiff & (found >= 1) & (found <= 8), found, 1)
