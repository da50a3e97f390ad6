"""Size and gray values of the development images, and images outside them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.drift.image_ranges import ImageSize, describe_outliers, gray_values, measure_ranges, unknown_ranges
from tests.helpers.colors import GREEN, RED, disk

SIZE = ImageSize(1000, 1000)


def ramp(low: int, high: int) -> np.ndarray:
    """An image whose gray values rise evenly from `low` to `high`."""
    return np.linspace(low, high, 16 * 16).round().astype("uint8").reshape(16, 16, 1)


def development() -> np.ndarray:
    """Ranges of 101 images from 0 to between 200 and 250, whose files have 0.81 to 1 megapixels."""
    images = np.stack([ramp(0, 200 + number // 2) for number in range(101)])
    rows = pd.DataFrame({"pixels": [810_000, 0, 1_000_000]})
    return measure_ranges(rows, [images[:60], images[60:]])


def test_gray_values_are_percentiles_and_mean() -> None:
    image = np.repeat(np.array([10, 100, 250], "uint8"), [4, 92, 4]).reshape(1, 10, 10, 1)
    assert gray_values(image).tolist() == [[10, (40 + 9200 + 1000) / 100, 250]]


def test_describe_outliers_development_image_has_none() -> None:
    assert describe_outliers(development(), SIZE, ramp(0, 225)) == []


def test_describe_outliers_ten_gray_values_beyond_a_bound_are_tolerated() -> None:
    """Fails if most images are noted because the development sample is small."""
    ranges = np.array([[1e6, 1e6], [50, 50], [50, 50], [50, 50]])
    notes = [describe_outliers(ranges, SIZE, np.full((8, 8, 1), gray, "uint8")) for gray in (39, 40, 60, 61)]
    assert [len(each) for each in notes] == [3, 0, 0, 3]


@pytest.mark.parametrize(
    ("image", "note"),
    [
        (ramp(0, 60), "brightest 1% of its pixels is 59, outside 198 to 247"),
        (ramp(180, 230), "darkest 1% of its pixels is 181, outside 2 to 3"),
        (255 - ramp(0, 60), "mean gray value is 225, outside 100 to 125"),
    ],
)
def test_describe_outliers_other_gray_values_are_named(image: np.ndarray, note: str) -> None:
    assert note in describe_outliers(development(), SIZE, image)


@pytest.mark.parametrize(
    ("size", "outside"),
    [
        (ImageSize(900, 900), False),
        (ImageSize(800, 810), False),  # less than a quarter smaller
        (ImageSize(1200, 1200), False),
        (ImageSize(2500, 3000), True),
        (ImageSize(224, 224), True),
    ],
)
def test_describe_outliers_other_size_is_named(size: ImageSize, outside: bool) -> None:
    notes = describe_outliers(development(), size, ramp(0, 225))
    expected = f"{size.width} x {size.height} pixels; development images have 0.81 to 1.00 megapixels"
    assert notes == ([expected] if outside else [])


def test_describe_outliers_development_images_of_one_size() -> None:
    ranges = unknown_ranges()
    ranges[0] = 65_536
    (note,) = describe_outliers(ranges, SIZE, ramp(0, 225))
    assert note == "1000 x 1000 pixels; development images have 0.07 megapixels"


def test_measure_ranges_one_blank_image_does_not_widen_them() -> None:
    """Fails if the range is that of all images: one defective image would hide every other."""
    images = np.stack([ramp(0, 240)] * 400 + [np.full((16, 16, 1), 128, "uint8")])
    assert describe_outliers(measure_ranges(pd.DataFrame(), [images]), SIZE, np.full((16, 16, 1), 128, "uint8"))


@given(st.integers(0, 255), st.integers(1, 5000), st.integers(1, 5000))
def test_describe_outliers_unknown_ranges_contain_every_image(gray: int, height: int, width: int) -> None:
    image = np.full((16, 16, 1), gray, "uint8")
    assert describe_outliers(unknown_ranges(), ImageSize(height, width), image) == []


def test_gray_values_of_color_are_those_of_luminance_and_three_means() -> None:
    image = np.empty((1, 10, 10, 3), "uint8")
    image[...] = (200, 100, 50)
    luminance = 0.299 * 200 + 0.587 * 100 + 0.114 * 50
    np.testing.assert_allclose(gray_values(image), [[luminance] * 3 + [200, 100, 50]])


def test_describe_outliers_image_of_another_hue_and_equal_luminance_is_noted() -> None:
    """Fails if a model of color sees stains of another hue without a note."""
    images = np.stack([disk(RED, seed, 32) for seed in range(50)])
    ranges = measure_ranges(pd.DataFrame({"pixels": [1_000_000]}), [images[:20], images[20:]])
    assert ranges.shape == (7, 2)
    assert describe_outliers(ranges, SIZE, images[7]) == []
    green = np.broadcast_to(np.array(GREEN, "uint8"), (32, 32, 3))
    notes = describe_outliers(ranges, SIZE, green)
    assert [note for note in notes if note.startswith("mean red is 20, outside")]


def test_describe_outliers_unknown_ranges_contain_every_image_in_color() -> None:
    assert describe_outliers(unknown_ranges(), SIZE, disk(RED, 0, 32)) == []
