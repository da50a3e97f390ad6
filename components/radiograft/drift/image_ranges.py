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
COLOR_VALUES = {"red": "mean red", "green": "mean green", "blue": "mean blue"}  # of RGB images, beside GRAY_VALUES
QUANTITIES = ("pixels", *GRAY_VALUES)  # rows of the array of ranges of gray images
COLOR_QUANTITIES = (*QUANTITIES, *COLOR_VALUES)  # rows of that of RGB images
LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)
INSIDE = (0.5, 99.5)  # percentiles: a few defective images in the development data must not widen a range
GRAY_TOLERANCE = 10  # of 255: bounds from a small sample are too narrow
SIDE_TOLERANCE = 1.25  # the size of a file matters little, because the image is resized


class ImageSize(NamedTuple):
    """Height and width of an image file in pixels."""

    height: int
    width: int


def unknown_ranges() -> FloatArray:
    """Returns ranges of NaN, as of a version that did not record them; they contain every image, gray or RGB."""
    return np.full((len(QUANTITIES), 2), np.nan)


def gray_values(images: np.ndarray) -> FloatArray:
    """Returns [n, 3], 0 to 255: the 1st percentile, the mean and the 99th percentile of each image.

    Of RGB images it returns [n, 6]: these three of the luminance, then the mean of red, green and blue.

    Args:
        images: uint8 [n, size, size, channels].
    """
    is_rgb = images.shape[-1] == len(LUMINANCE)
    flat = (images @ LUMINANCE if is_rgb else images).reshape(len(images), -1)
    darkest, brightest = np.percentile(flat, (1, 99), axis=1)
    values = np.stack([darkest, flat.mean(axis=1), brightest], axis=1)
    return np.concatenate([values, images.mean(axis=(1, 2))], axis=1) if is_rgb else values


def measure_ranges(rows: pd.DataFrame, batches: Iterable[np.ndarray]) -> FloatArray:
    """Returns lower and upper bound of each quantity, [4, 2]: of all sizes, and of 99% of the gray values.

    Of RGB images it returns [7, 2], see COLOR_QUANTITIES.

    Args:
        rows: catalog rows, with `pixels` if the sizes of the files are recorded.
        batches: uint8 [n, size, size, channels], a sample of the images.
    """
    pixels = rows["pixels"][rows["pixels"] > 0] if "pixels" in rows else rows.iloc[:0]
    sizes = (pixels.min(), pixels.max()) if len(pixels) else (np.nan, np.nan)
    values = np.concatenate([gray_values(batch) for batch in batches])
    return np.vstack([np.array(sizes, "float64"), np.percentile(values, INSIDE, axis=0).T])


def describe_outliers(ranges: FloatArray, size: ImageSize, image: np.ndarray) -> list[str]:
    """Describes in which quantities an image lies outside the ranges; unknown ranges contain every image.

    Args:
        ranges: as `measure_ranges` returns them.
        size: of the file.
        image: uint8 [size, size, channels], as the model receives it.

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
    names = (GRAY_VALUES | COLOR_VALUES).values()
    for name, value, (darkest, brightest) in zip(names, values, grays, strict=False):  # gray images have no colors
        if value < darkest - GRAY_TOLERANCE or value > brightest + GRAY_TOLERANCE:
            notes.append(f"{name} is {value:.0f}, outside {darkest:.0f} to {brightest:.0f}")
    return notes
