"""Shrinking and enlarging by a whole number as matrices, one for each axis: the antialiased resize of preprocess."""

from __future__ import annotations

import functools

import numpy as np

CUBIC = -0.5  # Keys's (1981) parameter, as in Pillow and TensorFlow
CUBIC_RADIUS = 2  # pixels


@functools.cache
def shrink_matrix(size: int, scale: int) -> np.ndarray:
    """Returns the weights with which preprocess shrinks `size` pixels to `size / scale`, float64 [size / scale, size].

    Raises:
        ValueError: the size is not a multiple of the scale.

    Example:
        >>> shrink_matrix(4, 2).round(2).tolist()
        [[0.43, 0.43, 0.14, 0.0], [0.0, 0.14, 0.43, 0.43]]
    """
    if size % scale:
        raise ValueError(f"the side of an image must be a multiple of model_scale ({scale}), got {size}")
    centers = (np.arange(size // scale) + 0.5) * scale
    distances = np.abs(np.arange(size) + 0.5 - centers[:, None]) / scale
    return _normalize_rows(np.maximum(1 - distances, 0))


@functools.cache
def detail_free_matrix(size: int, scale: int) -> np.ndarray:
    """Returns the pseudoinverse of the matrix that shrinks to `size` pixels, float64 [size x scale, size].

    What it enlarges has no detail: nothing that shrinking removes. Shrinking undoes it exactly.
    """
    inverse: np.ndarray = np.linalg.pinv(shrink_matrix(size * scale, scale))
    return inverse


@functools.cache
def bicubic_matrix(size: int, scale: int) -> np.ndarray:
    """Returns the weights of bicubic interpolation from `size` pixels, float64 [size x scale, size].

    Pixels beyond the border do not count, as in Pillow.

    Example:
        >>> bicubic_matrix(3, 2).sum(axis=1).round(6).tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    centers = (np.arange(size * scale) + 0.5) / scale
    distances = np.abs(np.arange(size) + 0.5 - centers[:, None])
    near = (CUBIC + 2) * distances**3 - (CUBIC + 3) * distances**2 + 1
    far = CUBIC * (distances**3 - 5 * distances**2 + 8 * distances - 4)
    return _normalize_rows(np.where(distances < 1, near, np.where(distances < CUBIC_RADIUS, far, 0.0)))


def _normalize_rows(weights: np.ndarray) -> np.ndarray:
    normalized: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normalized
