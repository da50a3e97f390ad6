"""Size and gray values of the development images, to notice an image of another kind before it is trusted."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from radiograft.drift.two_sample_tests import FloatArray

GRAY_VALUES = {
    "darkest": "darkest 1% of its pixels",
    "mean": "mean gray value",
    "brightest": "brightest 1% of its pixels",
}
QUANTITIES = ("pixels", *GRAY_VALUES)  # rows of the array of ranges
INSIDE = (0.5, 99.5)  # percentiles: a few defective images in the development data must not widen a range
GRAY_TOLERANCE = 10  # of 255: bounds from a small sample are too narrow
SIDE_TOLERANCE = 1.25  # the size of a file matters little, because the image is resized


class ImageSize(NamedTuple):
    """Height and width of an image file in pixels."""

    height: int
    width: int


def unknown_ranges() -> FloatArray:
    """Returns ranges of NaN, as of a version that did not record them."""
    return np.full((len(QUANTITIES), 2), np.nan)


def gray_values(images: np.ndarray) -> FloatArray:
    """Returns [n, 3], 0 to 255: the 1st percentile, the mean and the 99th percentile of each image.

    Args:
        images: uint8 [n, size, size, 1].
    """
    flat = images.reshape(len(images), -1)
    darkest, brightest = np.percentile(flat, (1, 99), axis=1)
    return np.stack([darkest, flat.mean(axis=1), brightest], axis=1)


def measure_ranges(rows: pd.DataFrame, batches: Iterable[np.ndarray]) -> FloatArray:
    """Returns lower and upper bound of each of QUANTITIES, [4, 2]: of all sizes, and of 99% of the gray values.

    Args:
        rows: catalog rows, with `pixels` if the sizes of the files are recorded.
        batches: uint8 [n, size, size, 1], a sample of the images.
    """
    ranges = unknown_ranges()
    pixels = rows["pixels"][rows["pixels"] > 0] if "pixels" in rows else rows.iloc[:0]
    if len(pixels):
        ranges[0] = pixels.min(), pixels.max()
    values = np.concatenate([gray_values(batch) for batch in batches])
    ranges[1:] = np.percentile(values, INSIDE, axis=0).T
    return ranges


def describe_outliers(ranges: FloatArray, size: ImageSize, image: np.ndarray) -> list[str]:
    """Describes in which quantities an image lies outside the ranges; unknown ranges contain every image.

    Args:
        ranges: as `measure_ranges` returns them.
        size: of the file.
        image: uint8 [size, size, 1], as the model receives it.

    Example:
        >>> ranges = np.array([[65536, 65536], [0, 10], [90, 110], [200, 255]])
        >>> describe_outliers(ranges, ImageSize(256, 256), np.full((8, 8, 1), 100, "uint8"))
        ['darkest 1% of its pixels is 100, outside 0 to 10', 'brightest 1% of its pixels is 100, outside 200 to 255']
    """
    (low, high), *grays = ranges
    (values,) = gray_values(image[np.newaxis])
    smaller, larger = (math.sqrt(size.height * size.width) * factor for factor in (SIDE_TOLERANCE, 1 / SIDE_TOLERANCE))
    notes = []
    if smaller < math.sqrt(low) or larger > math.sqrt(high):
        bounds = " to ".join(dict.fromkeys(f"{bound / 1e6:.2f}" for bound in (low, high)))
        notes.append(f"{size.width} x {size.height} pixels; development images have {bounds} megapixels")
    for name, value, (darkest, brightest) in zip(GRAY_VALUES.values(), values, grays, strict=True):
        if value < darkest - GRAY_TOLERANCE or value > brightest + GRAY_TOLERANCE:
            notes.append(f"{name} is {value:.0f}, outside {darkest:.0f} to {brightest:.0f}")
    return notes
