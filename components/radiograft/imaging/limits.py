"""Limits on the size of an image, checked with the size in its header before decompression."""

from __future__ import annotations

from radiograft.config.data_policy import MIN_SIDE, TOO_SMALL

MAX_PIXELS = 64_000_000  # about twice the largest detector in ChestX-ray14; guards against decompression bombs


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
