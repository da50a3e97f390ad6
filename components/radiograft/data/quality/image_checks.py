"""How a decoded image looks: blank, inverted, and a hash that nearly equal images share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.fft import dctn

from radiograft.config.data_policy import BLANK, INVERTED

SIDE = 16  # of a thumbnail, pixels; every image_size is a multiple of it
HASH_SIDE = 8
MAX_GRAY_LEVELS = 2  # gray levels in the thumbnail of an image that shows nothing
# Of 7,586 real chest films (NIH at 320 and 64 px, PneumoniaMNIST) the highest has 0.24; inverted, 97 % have above 0.3.
INVERTED_FROM = 0.3


class ImageCheck(NamedTuple):
    """`thumbnail` uint8 [SIDE, SIDE], `hash` 64 bits, `flaws` reasons of policy.REASONS."""

    thumbnail: np.ndarray
    hash: int
    flaws: tuple[str, ...]


def check_image(image: np.ndarray) -> ImageCheck:
    """Looks at an image.

    Args:
        image: uint8 [size, size, 1], size a multiple of SIDE.
    """
    block = image.shape[0] // SIDE
    means = image.reshape(SIDE, block, SIDE, block).mean((1, 3))
    if np.ptp(image) <= MAX_GRAY_LEVELS:
        flaws: tuple[str, ...] = (BLANK,)
    else:
        flaws = (INVERTED,) if brightness_outside(means) > INVERTED_FROM else ()
    return ImageCheck(np.round(means).astype("uint8"), perceptual_hash(means), flaws)


def brightness_outside(means: np.ndarray) -> float:
    """How much brighter air beside the shoulders and in the lungs is than the middle of a frontal chest film, -2 to 2.

    Negative where bones are bright: both regions are dark then, and spine and heart are not.
    """
    low, high = means.min(), means.max()
    scaled = (means - low) / max(high - low, 1.0)
    corners = (scaled[:2, :2].mean() + scaled[:2, -2:].mean()) / 2
    lungs = (scaled[4:10, 3:6].mean() + scaled[4:10, 10:13].mean()) / 2
    return float(corners + lungs - 2 * scaled[2:14, 7:9].mean())


def perceptual_hash(means: np.ndarray) -> int:
    """64 bits, of which images that differ by size, compression, brightness or noise share nearly all.

    Signs of the lowest frequencies of a discrete cosine transform about their median (pHash, Zauner 2010).
    """
    frequencies = dctn(means, norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = frequencies > np.median(frequencies[1:])  # the first is the mean, which outweighs all others
    bits[0] = False
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
