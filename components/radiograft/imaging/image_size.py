"""The size of an image, which is read from a header and limited before decompression."""

from __future__ import annotations

import struct

from radiograft.config.data_policy import MIN_SIDE, TOO_SMALL

MAX_PIXELS = 64_000_000  # about twice the largest detector in ChestX-ray14; guards against decompression bombs
JPEG_FRAMES = (0xC0, 0xC1, 0xC3, 0xF7)  # frame markers: baseline, extended, lossless, JPEG-LS


class TooSmallError(ValueError):
    """The image is too small to show a finding."""


def check_not_too_small(height: int, width: int) -> None:
    """Checks the minimum size of an image.

    Raises:
        TooSmallError: A side is below MIN_SIDE. The message is TOO_SMALL.
    """
    if min(height, width) < MIN_SIDE:
        raise TooSmallError(TOO_SMALL)


def check_size(height: int, width: int) -> None:
    """Checks the maximum size of an image.

    Raises:
        ValueError: The image has more than MAX_PIXELS pixels.
    """
    if height * width > MAX_PIXELS:
        raise ValueError(f"an image must have at most {MAX_PIXELS} pixels")


def read_jpeg2000_size(stream: bytes) -> tuple[int, int, int]:
    """Reads rows, columns and components from the SIZ marker, which comes first (ISO/IEC 15444-1, A.5.1)."""
    if stream[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("a JPEG 2000 stream must begin with the markers SOC and SIZ")
    right, bottom, left, top = struct.unpack(">4I", stream[8:24])
    return bottom - top, right - left, int.from_bytes(stream[40:42], "big")


def read_jpeg_size(stream: bytes) -> tuple[int, int, int]:
    """Reads rows, columns and components from the frame header (ISO/IEC 10918-1, B.2.2)."""
    offset = 2
    while stream[offset] == 0xFF and stream[offset + 1] not in JPEG_FRAMES:
        offset += 2 + int.from_bytes(stream[offset + 2 : offset + 4], "big")
    rows, columns, components = struct.unpack(">HHB", stream[offset + 5 : offset + 10])
    return rows, columns, components
