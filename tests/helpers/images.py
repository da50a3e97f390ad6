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
