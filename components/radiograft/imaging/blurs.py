"""Blurs of MedMNIST-C: Gaussian, out of focus, in motion and by zoom.

Every function takes an image, uint8 [height, width, channels], a strength and a random generator, and returns a blurred
copy.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate, correlate1d, zoom

DISK_RADIUS = 8  # of the kernel in which a disk is drawn
MAX_ANGLE = 45  # degrees, of motion


def blur_gaussian(image: np.ndarray, kernel_size: float, _: np.random.Generator) -> np.ndarray:
    """Blurs as torchvision does, with the standard deviation that it derives from the kernel size."""
    radius = (int(kernel_size) - 1) / 2
    kernel = _gaussian(np.arange(-radius, radius + 1), 0.3 * (radius - 1) + 0.8)
    blurred = image.astype(np.float64)
    for axis in (0, 1):
        blurred = correlate1d(blurred, kernel, axis, mode="mirror")
    rounded: np.ndarray = np.clip(np.round(blurred), 0, 255).astype(np.uint8)
    return rounded


def blur_defocus(image: np.ndarray, strength: tuple[float, float], _: np.random.Generator) -> np.ndarray:
    """Averages over a disk, whose edge is smoothed; `strength` is its radius and the standard deviation of the edge."""
    radius, smoothing = strength
    rows, columns = np.mgrid[-DISK_RADIUS : DISK_RADIUS + 1, -DISK_RADIUS : DISK_RADIUS + 1]
    disk = (rows**2 + columns**2 <= radius**2).astype(np.float64)
    edge = _gaussian(np.arange(-1, 2), smoothing)
    for axis in (0, 1):
        disk = correlate1d(disk, edge, axis, mode="mirror")
    disk /= disk.sum()
    planes = [correlate(image[..., channel] / 255, disk, mode="mirror") for channel in range(image.shape[2])]
    return to_bytes(np.stack(planes, axis=2))


def blur_motion(image: np.ndarray, strength: tuple[float, float], generator: np.random.Generator) -> np.ndarray:
    """Blurs in one direction as ImageMagick does: one half of a Gaussian along a line, the edge continued.

    `strength` is the radius of the kernel and its standard deviation. The angle is drawn.
    """
    radius, sigma = strength
    places = np.arange(2 * int(np.ceil(radius)) + 1)
    angle = np.deg2rad(generator.uniform(-MAX_ANGLE, MAX_ANGLE))
    down, right = (np.ceil(places * part - 0.5).astype(int) for part in (np.sin(angle), np.cos(angle)))
    height, width = image.shape[:2]
    blurred = np.zeros(image.shape)
    for weight, row, column in zip(_gaussian(places, sigma), down, right, strict=True):
        rows = np.clip(np.arange(height) + row, 0, height - 1)
        columns = np.clip(np.arange(width) + column, 0, width - 1)
        blurred += weight * image[rows][:, columns]
    return to_bytes(blurred / 255)


def blur_zoom(image: np.ndarray, strength: tuple[float, float], _: np.random.Generator) -> np.ndarray:
    """Averages the image and enlarged copies of its center; `strength` is the bound and the step of the factors."""
    bound, step = strength
    factors, values = np.arange(1, bound, step), image / 255
    total = sum((_enlarge_center(values, factor) for factor in factors), start=values)
    return to_bytes(total / (len(factors) + 1))


def _enlarge_center(values: np.ndarray, factor: float) -> np.ndarray:
    """Enlarges the center linearly and returns as much of it as the image is large."""
    sides = values.shape[:2]
    cropped = [int(np.ceil(side / factor)) for side in sides]
    starts = [(side - crop) // 2 for side, crop in zip(sides, cropped, strict=True)]
    rows, columns = (slice(start, start + crop) for start, crop in zip(starts, cropped, strict=True))
    enlarged = zoom(values[rows, columns], (factor, factor, 1), order=1)
    top, left = ((large - side) // 2 for large, side in zip(enlarged.shape[:2], sides, strict=True))
    return np.asarray(enlarged[top : top + sides[0], left : left + sides[1]])


def _gaussian(places: np.ndarray, sigma: float) -> np.ndarray:
    weights = np.exp(-0.5 * (places / sigma) ** 2)
    return np.asarray(weights / weights.sum())


def to_bytes(values: np.ndarray) -> np.ndarray:
    """Converts 0 to 1 to uint8. Fractions are cut off as in medmnistc; 1e-9 keeps exact values such as 0.1 * 255."""
    pixels: np.ndarray = (np.clip(values, 0, 1) * 255 + 1e-9).astype(np.uint8)
    return pixels
