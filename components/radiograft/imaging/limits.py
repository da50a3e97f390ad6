"""How large an image may be; known before anything is decompressed, from what its header states."""

from __future__ import annotations

from radiograft.config.data_policy import MIN_SIDE, TOO_SMALL

MAX_PIXELS = 64_000_000  # twice the largest detector of ChestX-ray14; a bomb is refused from its header


class TooSmallError(ValueError):
    """An image in which nothing can be seen."""


def check_not_too_small(height: int, width: int) -> None:
    """Refuses an image of a side below SMALLEST_SIDE.

    Raises:
        TooSmallError: with TOO_SMALL.
    """
    if min(height, width) < MIN_SIDE:
        raise TooSmallError(TOO_SMALL)


def check_size(height: int, width: int) -> None:
    """Refuses an image of more pixels than LARGEST_PIXELS.

    Raises:
        ValueError: with the limit.
    """
    if height * width > MAX_PIXELS:
        raise ValueError(f"an image must have at most {MAX_PIXELS} pixels")
