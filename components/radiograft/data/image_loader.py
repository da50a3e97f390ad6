"""Reads the catalog's images, several at once and in order: decoded and resized, or the reason why not."""

from __future__ import annotations

import collections
import functools
import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft import storage
from radiograft.config.data_policy import UNREADABLE
from radiograft.imaging.decode import decode, encode_png, has_color, inspect_image
from radiograft.imaging.limits import TooSmallError, check_not_too_small
from radiograft.storage import npz_archive, pseudonyms, tar_archive

DECODERS = 8  # as many as the pod's cores; more than there are cost nothing, and hide an object store's latency
READ_AHEAD = 32
COLOR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")  # modes that may hold color


class LoadedImage(NamedTuple):
    """An image, or why there is none; its mode, and how many pixels it had before."""

    image: np.ndarray | None
    reason: str
    mode: str = ""
    pixels: int = 0
    in_color: bool = False  # the channels of the file differ


def decode_rows(rows: pd.DataFrame, size: int) -> Iterator[LoadedImage]:
    """Images of the catalog's rows in their order, uint8 [size, size, 1], or why there is none.

    Args:
        rows: in the order of `layout.in_reading_order`, which is also the shards'.

    Raises:
        FileNotFoundError, ValueError: an archive that holds several of them is gone or damaged.
    """
    with pseudonyms.redact_names(pseudonyms.private_folders(rows["uri"])):
        uris = pseudonyms.resolve_uris(list(rows["uri"]))
        found = zip(uris, rows["md5"], npz_archive.read_rows(uris), tar_archive.read_members(uris), strict=True)
        yield from in_order(lambda image: load(*image, size=size), found)


def load(
    uri: str, md5: str, pixels: np.ndarray | None = None, member: bytes | None = None, *, size: int
) -> LoadedImage:
    """Reads and decodes one image, never raising for what is wrong with the image itself.

    Args:
        pixels: uint8 [height, width] or [height, width, 3] of an image that is no file of its own. It takes the way of
            all others as a PNG, so that color becomes the same gray and its size has the same bound.
        member: the file, where it lies in an archive.
    """
    try:
        content = pixels.tobytes() if pixels is not None else storage.read_bytes(uri) if member is None else member
    except FileNotFoundError:
        return LoadedImage(None, "gone since ingest")
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return LoadedImage(None, "changed since ingest")
    return _decoded_dicom(content, size) if content[128:132] == b"DICM" else _decoded(content, pixels, size)


def _decoded_dicom(content: bytes, size: int) -> LoadedImage:
    from radiograft.imaging import dicom

    try:
        pixels = dicom.read(content).pixels
        check_not_too_small(*pixels.shape)
    except (dicom.UnsupportedDicomError, TooSmallError) as error:
        return LoadedImage(None, str(error))
    return LoadedImage(_decoder(size)(encode_png(pixels)), "", "DICOM", pixels.size)


def _decoded(content: bytes, pixels: np.ndarray | None, size: int) -> LoadedImage:
    try:
        content = content if pixels is None else encode_png(pixels)
        mode, height, width = inspect_image(content)
        image = _decoder(size)(content)
        return LoadedImage(image, "", mode, height * width, mode in COLOR_MODES and has_color(content))
    except TooSmallError as error:
        return LoadedImage(None, str(error))
    except (ValueError, OSError, tf.errors.InvalidArgumentError):
        return LoadedImage(None, UNREADABLE)


@functools.cache
def _decoder(size: int) -> Callable[[bytes], np.ndarray]:
    """`decode` as a graph: a tenth less work than one operation after another, of which Python would call each."""
    graph = tf.function(lambda content: decode(content, size)).get_concrete_function(tf.TensorSpec([], tf.string))
    return lambda content: np.asarray(graph(tf.constant(content)))


def in_order(work: Callable[[Any], LoadedImage], items: Iterator[Any]) -> Iterator[LoadedImage]:
    """Works on several items at once and yields results in order, never more than READ_AHEAD of them waiting."""
    waiting: collections.deque[Future[LoadedImage]] = collections.deque()
    with ThreadPoolExecutor(DECODERS) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= READ_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
