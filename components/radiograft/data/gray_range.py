"""Finds the range of gray values that the 16-bit images of a dataset use; it does not import TensorFlow."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from PIL import Image

from radiograft import storage
from radiograft.config.preprocessing import MAX_GRAY
from radiograft.imaging import formats
from radiograft.imaging.geometry import GrayRange
from radiograft.imaging.image_size import check_size
from radiograft.storage import archive, npz_archive, pseudonyms

FILE = "gray_range.json"  # beside the shards of a worker
MAX_FILES = 256  # files whose first bytes are read
MAX_IMAGES = 32  # 16-bit images that are decoded
MAX_MEMBERS = 8  # of an archive, which must be read from its beginning
PERCENTILES = (0.1, 99.9)  # of an image: a few saturated pixels, such as those of a marker, do not count
FORMATS = ("PNG", "TIFF")
BYTE = 2**8
BIT_DEPTH = slice(24, 25)  # of a PNG
TIFF = (b"II*\0", b"MM\0*")


def measure(rows: pd.DataFrame) -> GrayRange | None:
    """Returns the range that the 16-bit images use, or None if there are none or they use all 16 bits.

    The upper end is the largest value of the lowest number of bits that holds almost all values. The lower end is 0,
    unless the values fill less than half of that range: then both ends are those of the values. The sample depends only
    on the MD5 of the images, so all workers find the same range.

    Args:
        rows: catalog rows.
    """
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        used = [values for values in pool.map(_used_range, _sample(rows)) if values is not None]
    if not used:
        return None
    low, high = math.floor(min(low for low, _ in used)), math.ceil(max(high for _, high in used))
    top = 2 ** high.bit_length() - 1
    low, high = (0, top) if 2 * (high - low) >= top else (low, high)
    return None if (low, high) == (0, MAX_GRAY) or low == high else (low, high)


def _sample(rows: pd.DataFrame) -> Iterator[bytes]:
    """Yields up to MAX_IMAGES files that may hold 16 bits, and the first members of each archive."""
    members: list[str] = []
    files: list[str] = []
    for uri in rows.sort_values(["md5", "image_id"])["uri"]:
        if not npz_archive.ROW_URI.fullmatch(uri) and not storage.is_dicomweb(uri):  # DICOM files have their windows
            (members if archive.MEMBER_URI.fullmatch(uri) else files).append(uri)
    resolved = pseudonyms.resolve_uris(files[:MAX_FILES])
    with ThreadPoolExecutor(storage.PARALLEL_TRANSFERS) as pool:
        may_have = list(pool.map(_may_have_16_bits, resolved))
    for uri in list(itertools.compress(resolved, may_have))[:MAX_IMAGES]:
        with contextlib.suppress(FileNotFoundError):
            yield storage.read_bytes(uri)
    yield from filter(None, archive.read_members(first_members(members, MAX_MEMBERS)))


def first_members(uris: Iterable[str], count: int) -> list[str]:
    """Returns the URIs of the first `count` members of each archive, in the order of reading."""
    numbered = sorted(map(archive.parse_member_uri, uris))
    groups = itertools.groupby(numbered, key=lambda member: member[0])
    return [f"{uri}#{number}" for _, group in groups for uri, number in itertools.islice(group, count)]


def _may_have_16_bits(uri: str) -> bool:
    try:
        with storage.open_file(uri) as file:
            head = file.read(BIT_DEPTH.stop)
    except FileNotFoundError:
        return False
    return head.startswith(TIFF) or (head[1:4] == b"PNG" and head[BIT_DEPTH] == b"\x10")


def _used_range(content: bytes) -> tuple[float, float] | None:
    """Returns the lowest and highest value of an image of 16 bits or more without outliers; None for other files."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_size(image.height, image.width)
            if image.mode.startswith("I"):
                values = formats.gray_values(image, inverted=formats.is_white_zero(image))
                low, high = np.percentile(values, PERCENTILES)
                return float(low), float(high)
            if image.format == "PNG" and content[BIT_DEPTH] == b"\x10":  # of color or with alpha, Pillow reads a byte
                low, high = np.percentile(np.asarray(image.convert("RGB")), PERCENTILES)
                return float(BYTE * low), float(BYTE * high + BYTE - 1)
    except formats.ERRORS:
        pass
    return None
