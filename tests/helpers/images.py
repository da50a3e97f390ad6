"""Creates encoded images for tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def encode(image: Image.Image | np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    """Encodes an image, or an array that Pillow can convert to one."""
    content = io.BytesIO()
    pixels = image if isinstance(image, Image.Image) else Image.fromarray(image)
    pixels.save(content, format, **options)
    return content.getvalue()


def tiff(values: np.ndarray, *, white_is_zero: bool = False) -> bytes:
    """Encodes [height, width] or [height, width, 3] of any integer type as a TIFF, which Pillow cannot."""
    height, width, *channels = values.shape
    samples, bits = (channels or [1])[0], 8 * values.itemsize
    entries = 10
    lists = 8 + 2 + 12 * entries + 4  # behind the directory: bits and formats of the samples, then the pixels
    kinds = [2 if values.dtype.kind == "i" else 1] * samples
    pixels = values.astype(values.dtype.newbyteorder("<")).tobytes()

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        return struct.pack("<HHII", tag, kind, count, value)

    directory = [
        entry(256, 4, 1, width), entry(257, 4, 1, height), entry(258, 3, samples, bits if samples == 1 else lists),
        entry(259, 3, 1, 1), entry(262, 3, 1, 0 if white_is_zero else 1 if samples == 1 else 2),
        entry(273, 4, 1, lists + 4 * samples), entry(277, 3, 1, samples), entry(278, 4, 1, height),
        entry(279, 4, 1, len(pixels)), entry(339, 3, samples, kinds[0] if samples == 1 else lists + 2 * samples),
    ]  # fmt: skip
    after = struct.pack(f"<I{2 * samples}H", 0, *[bits] * samples, *kinds)
    return b"II*\0" + struct.pack("<IH", 8, entries) + b"".join(directory) + after + pixels


def png_of_16_bits(values: np.ndarray) -> bytes:
    """Encodes uint16 [height, width, channels] as a PNG of gray and alpha, RGB or RGBA, which Pillow cannot."""
    height, width, channels = values.shape
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = values.astype(">u2").reshape(height, -1)
    data = b"IDAT" + zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (header, data, b"IEND")))


def noise(size: int = 32, seed: int = 0) -> np.ndarray:
    """Returns incompressible noise, uint8 [size, size]."""
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def png_of_header_only(width: int, height: int) -> bytes:
    """Returns a PNG whose header claims width x height gray pixels, without any data."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, (header, data, b"IEND")))


def with_chunk_at_its_end(png: bytes, chunk: bytes) -> bytes:
    """Inserts a chunk after the pixels of a PNG.

    Args:
        chunk: its name, four letters, followed by its data.
    """
    end = len(png) - len(_chunk(b"IEND"))
    return png[:end] + _chunk(chunk) + png[end:]


def _chunk(content: bytes) -> bytes:
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
