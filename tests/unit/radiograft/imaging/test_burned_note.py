"""A note that is burned in below an image."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from radiograft.imaging.burned_note import with_note


@pytest.mark.parametrize(("shape", "mode"), [((40, 200, 1), "L"), ((40, 200), "L"), ((40, 200, 3), "RGB")])
def test_with_note_leaves_the_image_and_writes_below_it(shape: tuple[int, ...], mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    written = Image.open(io.BytesIO(with_note(pixels, "Enlarged by a network.")))
    assert (written.mode, written.width) == (mode, 200)
    np.testing.assert_array_equal(np.asarray(written)[:40], pixels.squeeze())
    assert np.asarray(written)[40:].max() > 200
    assert np.asarray(written)[40:].min() == 0


def test_with_note_of_a_narrow_image_is_wrapped() -> None:
    """Fails if a note is cut off at the right: the strip of a narrow image must have more lines."""
    wide, narrow = (
        Image.open(io.BytesIO(with_note(np.zeros((8, width), np.uint8), "word " * 20))) for width in (1000, 100)
    )
    assert wide.height - 8 < 70
    assert narrow.height - 8 > 100
    right = np.asarray(narrow)[8:, -3:]
    assert right.max() < 100  # no line reaches the right border
