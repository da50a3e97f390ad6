"""Tells images in color from gray ones; it does not import TensorFlow."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from radiograft.imaging import formats

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
COLOR_MODES = ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")  # Pillow modes that can represent color
COLOR_THRESHOLD = 24  # difference between a pixel's channels; JPEG artifacts in gray images stay below
MIN_COLOR_FRACTION = 0.01  # of the pixels; a colored marker stays below
SAMPLE_SIDE = 64  # pixels of the reduced image that is examined


def has_color(content: bytes) -> bool:
    """Returns whether more than MIN_COLOR_FRACTION of an image is colored, as in photographs, overlays and Doppler.

    Args:
        content: an encoded PNG or JPEG file.

    Raises:
        ValueError: Pillow cannot read the image, for example because of a corrupt text chunk after the pixels of a
            PNG, which TensorFlow ignores.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats.SERVED) as image:
            if image.mode not in COLOR_MODES:
                image.load()
                return False
            image.draft("RGB", (4 * SAMPLE_SIDE, 4 * SAMPLE_SIDE))
            return _shows_color(image)
    except CORRUPTION_ERRORS as error:
        raise ValueError("not a readable image") from error


def is_colored(pixels: np.ndarray) -> bool:
    """Returns whether decoded pixels are in color, as `has_color` does for a file.

    Args:
        pixels: uint8 or uint16 [height, width], or uint8 [height, width, 3].

    Example:
        >>> is_colored(np.full((32, 32, 3), (200, 40, 40), "uint8")), is_colored(np.full((32, 32), 90, "uint8"))
        (True, False)
    """
    return pixels.ndim == 3 and _shows_color(Image.fromarray(pixels))


def _shows_color(image: Image.Image) -> bool:
    reduced = image.convert("RGB").resize((SAMPLE_SIDE, SAMPLE_SIDE), Image.Resampling.BOX)
    return bool((np.ptp(np.asarray(reduced, "int16"), axis=2) > COLOR_THRESHOLD).mean() > MIN_COLOR_FRACTION)
