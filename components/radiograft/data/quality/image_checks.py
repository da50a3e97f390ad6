"""Checks of a decoded image: blank, inverted, and a perceptual hash that near duplicates share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.fft import dctn

from radiograft.config.data_policy import BLANK, INVERTED

SIDE = 16  # pixels of a thumbnail; every image_size is a multiple of it
HASH_SIDE = 8
MAX_GRAY_LEVELS = 2  # maximum difference of gray levels in a blank image
# The maximum over 7,586 real chest radiographs (NIH at 320 and 64 px, PneumoniaMNIST) is 0.24. Of the same images
# inverted, 97% exceed 0.3.
INVERTED_FROM = 0.3


class ImageCheck(NamedTuple):
    """The result of `check_image`.

    Attributes:
        thumbnail: uint8 [SIDE, SIDE].
        hash: perceptual hash of 64 bits.
        flaws: reasons in `data_policy.REASONS`.
    """

    thumbnail: np.ndarray
    hash: int
    flaws: tuple[str, ...]


def check_image(image: np.ndarray) -> ImageCheck:
    """Checks an image for defects and computes its thumbnail and perceptual hash.

    Args:
        image: uint8 [size, size, 1]; size is a multiple of SIDE.
    """
    block = image.shape[0] // SIDE
    means = image.reshape(SIDE, block, SIDE, block).mean((1, 3))
    if np.ptp(image) <= MAX_GRAY_LEVELS:
        flaws: tuple[str, ...] = (BLANK,)
    else:
        flaws = (INVERTED,) if brightness_outside(means) > INVERTED_FROM else ()
    return ImageCheck(np.round(means).astype("uint8"), perceptual_hash(means), flaws)


def brightness_outside(means: np.ndarray) -> float:
    """Returns how much brighter background and lungs are than the mediastinum of a frontal chest radiograph, -2 to 2.

    The value is negative if bones are bright: background and lungs are then dark, and spine and heart are not.

    Args:
        means: mean gray level of each block, [SIDE, SIDE].
    """
    low, high = means.min(), means.max()
    scaled = (means - low) / max(high - low, 1.0)
    corners = (scaled[:2, :2].mean() + scaled[:2, -2:].mean()) / 2
    lungs = (scaled[4:10, 3:6].mean() + scaled[4:10, 10:13].mean()) / 2
    return float(corners + lungs - 2 * scaled[2:14, 7:9].mean())


def perceptual_hash(means: np.ndarray) -> int:
    """Returns a hash of 64 bits that changes little with size, compression, brightness and noise.

    It has one bit for each of the lowest frequencies of a discrete cosine transform: whether the coefficient exceeds
    their median (pHash, Zauner 2010).

    Args:
        means: mean gray level of each block, [SIDE, SIDE].
    """
    frequencies = dctn(means, norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = frequencies > np.median(frequencies[1:])  # the first is the mean, which dominates all others
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
