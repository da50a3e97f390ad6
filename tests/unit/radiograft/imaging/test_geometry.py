"""Boxes of an image in the square input of a network."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from radiograft.imaging.decode import decode
from radiograft.imaging.geometry import Enlargement, ImageInput, boxes_in_square, place_in_square, without_borders
from tests.helpers.images import encode

BOX = [0.25, 0.5, 0.5, 0.25]


@pytest.mark.parametrize(
    ("target", "sides", "expected"),
    [
        (ImageInput(64), (100, 50), BOX),
        (ImageInput(64, "pad"), (80, 80), BOX),
        (ImageInput(64, "pad"), (100, 50), [0.375, 0.5, 0.25, 0.25]),
        (ImageInput(64, "pad"), (50, 100), [0.25, 0.5, 0.5, 0.125]),
    ],
    ids=["stretched", "square", "upright", "wide"],
)
def test_boxes_in_square_maps_box(target: ImageInput, sides: tuple[int, int], expected: list[float]) -> None:
    assert boxes_in_square(np.array([BOX]), np.array([sides]), target).tolist() == [expected]


def test_boxes_in_square_without_boxes_is_empty() -> None:
    assert boxes_in_square(np.empty((0, 4)), np.empty((0, 2)), ImageInput(32, "pad")).shape == (0, 4)


@given(
    sides=st.tuples(st.integers(16, 5000), st.integers(16, 5000)),
    corner=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    lengths=st.tuples(st.floats(0.01, 0.5), st.floats(0.01, 0.5)),
)
def test_boxes_in_square_stay_inside_and_stretch_changes_nothing(
    sides: tuple[int, int], corner: tuple[float, float], lengths: tuple[float, float]
) -> None:
    box = np.array([[*corner, *lengths]])
    ((x, y, width, height),) = boxes_in_square(box, np.array([sides]), ImageInput(224, "pad"))
    assert 0 <= x <= x + width <= 1 + 1e-9
    assert 0 <= y <= y + height <= 1 + 1e-9
    np.testing.assert_array_equal(boxes_in_square(box, np.array([sides]), ImageInput(224)), box)


@pytest.mark.parametrize(("height", "width"), [(40, 80), (80, 40), (64, 64), (16, 5000)])
def test_without_borders_returns_only_the_image(height: int, width: int) -> None:
    """Fails if black borders hide that an image is blank."""
    square = decode(tf.constant(encode(np.full((height, width), 90, np.uint8))), ImageInput(32, "pad")).numpy()
    np.testing.assert_array_equal(without_borders(square, height, width, ImageInput(32, "pad")), 90)
    np.testing.assert_array_equal(without_borders(square, height, width, ImageInput(32)), square)


@given(
    sides=st.tuples(st.integers(16, 5000), st.integers(16, 5000)),
    size=st.integers(8, 256),
    scale=st.sampled_from([2, 4]),
)
def test_place_in_enlarged_square_is_that_before_enlarging_times_the_scale(
    sides: tuple[int, int], size: int, scale: int
) -> None:
    """Fails if boxes and borders are placed by the large size, whose rounding differs."""
    target = ImageInput(size * scale, "pad", enlarged_by=Enlargement("registry/g/1", scale, "0" * 64))
    start, length = place_in_square(*sides, ImageInput(size, "pad"))
    assert place_in_square(*sides, target) == (start * scale, length * scale)
    assert target.before_enlarging() == ImageInput(size, "pad")
