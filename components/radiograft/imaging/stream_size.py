"""Reads the size of an image from the header of a compressed stream in a DICOM file."""

from __future__ import annotations

import struct

JPEG_FRAMES = (0xC0, 0xC1, 0xC3, 0xF7)  # frame markers: baseline, extended, lossless, JPEG-LS


def of_jpeg2000(stream: bytes) -> tuple[int, int, int]:
    """Reads rows, columns and components from the SIZ marker, which comes first (ISO/IEC 15444-1, A.5.1)."""
    if stream[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("a JPEG 2000 stream must begin with the markers SOC and SIZ")
    right, bottom, left, top = struct.unpack(">4I", stream[8:24])
    return bottom - top, right - left, int.from_bytes(stream[40:42], "big")


def of_jpeg(stream: bytes) -> tuple[int, int, int]:
    """Reads rows, columns and components from the frame header (ISO/IEC 10918-1, B.2.2)."""
    offset = 2
    while stream[offset] == 0xFF and stream[offset + 1] not in JPEG_FRAMES:
        offset += 2 + int.from_bytes(stream[offset + 2 : offset + 4], "big")
    rows, columns, components = struct.unpack(">HHB", stream[offset + 5 : offset + 10])
    return rows, columns, components
