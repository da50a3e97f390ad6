"""How large a picture may be; known before anything is decompressed, from what its header states."""

from __future__ import annotations

LARGEST_PIXELS = 64_000_000  # twice the largest detector of ChestX-ray14; a bomb is refused from its header


def check_size(height: int, width: int) -> None:
    """Refuses a picture of more pixels than LARGEST_PIXELS.

    Raises:
        ValueError: with the limit.
    """
    if height * width > LARGEST_PIXELS:
        raise ValueError(f"a picture must have at most {LARGEST_PIXELS} pixels")
