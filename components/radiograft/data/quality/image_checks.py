"""Checks of decoded images: blank, inverted, and near duplicates by a perceptual hash."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.fft import dctn

from radiograft.config.data_policy import (
    BLANK,
    CONTRADICTORY_NEAR_COPIES,
    INVERTED,
    NEAR_DUPLICATE,
    NEAR_DUPLICATE_ELSEWHERE,
)
from radiograft.data.catalog import SPLITS, label_column
from radiograft.data.soft_labels import majority_class

SIDE = 16  # pixels of a thumbnail; every image_size is a multiple of it
HASH_SIDE = 8
LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)
MAX_GRAY_LEVELS = 2  # maximum difference of the levels of each channel in a blank image
# The maximum over 7,586 real chest radiographs (NIH at 320 and 64 px, PneumoniaMNIST) is 0.24. Of the same images
# inverted, 97% exceed 0.3.
INVERTED_FROM = 0.3

BYTES = 8
# Two hashes that differ in fewer bits than they have bytes share at least one byte. Bucketing by byte therefore finds
# all such pairs.
MAX_HASH_DISTANCE = BYTES - 1
# Maximum correlation among 765,585 pairs of NIH images: 0.973 for two patients, 0.987 for one patient, and 1 for
# repeated images. The correlation with the original always exceeds 0.99 after JPEG compression at quality 50, after
# downsampling by 2 and with noise of 8 gray levels, and in 99.6% of the images after brightening by 15%.
MIN_CORRELATION = 0.99
CHUNK_SIZE = 2**20  # pairs
MAX_LOGGED = 3  # pairs

log = logging.getLogger(__name__)


class ImageCheck(NamedTuple):
    """The result of `check_image`.

    Attributes:
        thumbnail: uint8 [SIDE, SIDE, channels].
        hash: perceptual hash of 64 bits.
        flaws: reasons in `data_policy.REASONS`.
    """

    thumbnail: np.ndarray
    hash: int
    flaws: tuple[str, ...]


def check_image(image: np.ndarray) -> ImageCheck:
    """Checks an image for defects and computes its thumbnail and perceptual hash.

    Only gray images can look inverted: the check knows radiographs.

    Args:
        image: uint8 [size, size, channels]; size is a multiple of SIDE.
    """
    block, channels = image.shape[0] // SIDE, image.shape[-1]
    means = image.reshape(SIDE, block, SIDE, block, channels).mean((1, 3))
    luminance = means[..., 0] if channels == 1 else means @ LUMINANCE
    if np.ptp(image, axis=(0, 1)).max() <= MAX_GRAY_LEVELS:
        flaws: tuple[str, ...] = (BLANK,)
    else:
        flaws = (INVERTED,) if channels == 1 and brightness_outside(luminance) > INVERTED_FROM else ()
    return ImageCheck(np.round(means).astype("uint8"), perceptual_hash(luminance), flaws)


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


def find_contradictory_copies(
    rows: pd.DataFrame, hashes: np.ndarray, thumbnails: np.ndarray, labels: Iterable[str]
) -> dict[str, pd.Series[bool]]:
    """Returns which rows are near-equal to a row of any split with a different label, by reason.

    Unlike for other near duplicates, the label of none of them can be trusted, and test images count, too.

    Args:
        rows: image_id and the label columns.
        hashes: uint64 [rows], perceptual hashes from `check_image`.
        thumbnails: uint8 [rows, side, side, channels].
        labels: names of the labels.
    """
    truth = majority_class(rows[list(map(label_column, labels))]).to_numpy("float64")
    first, second = similar_pairs(hashes, thumbnails).T
    different = (np.abs(truth[first] - truth[second]) > 0).any(axis=1)  # NaN, an unknown label, differs from none
    positions = np.union1d(first[different], second[different])
    for one, other in zip(first[different][:MAX_LOGGED], second[different][:MAX_LOGGED], strict=True):
        log.warning("  near-equal, with different labels: %s and %s", *rows["image_id"].iloc[[one, other]])
    return {CONTRADICTORY_NEAR_COPIES: pd.Series(np.isin(np.arange(len(rows)), positions), index=rows.index)}


def find_near_duplicates(
    rows: pd.DataFrame, hashes: np.ndarray, thumbnails: np.ndarray, *, leave: bool
) -> dict[str, pd.Series[bool]]:
    """Returns which rows are near duplicates, by reason. Test images never are, because the test split stays complete.

    Args:
        rows: `split`.
        hashes: uint64 [rows], perceptual hashes from `check_image`.
        thumbnails: uint8 [rows, side, side, channels].
        leave: whether near duplicates are excluded. An image that resembles only excluded images is not a duplicate.
    """
    order = rows["split"].map(SPLITS[::-1].index).argsort(kind="stable").to_numpy()
    splits = rows["split"].to_numpy()[order]
    originals = find_repeats(hashes[order], thumbnails[order], leave & (splits != "test"))
    originals = {later: earlier for later, earlier in originals.items() if splits[later] != "test"}

    def mask(same_split: bool) -> pd.Series[bool]:
        positions = [
            order[later] for later, earlier in originals.items() if (splits[later] == splits[earlier]) == same_split
        ]
        return pd.Series(np.isin(np.arange(len(rows)), positions), index=rows.index)

    return {NEAR_DUPLICATE_ELSEWHERE: mask(same_split=False), NEAR_DUPLICATE: mask(same_split=True)}


def find_repeats(hashes: np.ndarray, thumbnails: np.ndarray, leaves: np.ndarray) -> dict[int, int]:
    """Maps the index of each repeated image to that of the earlier image that it repeats and that is kept.

    Args:
        hashes: uint64 [n].
        thumbnails: uint8 [n, side, side, channels].
        leaves: bool [n], whether an image is excluded if it is a repeat.
    """
    originals: dict[int, int] = {}
    for earlier, later in similar_pairs(hashes, thumbnails).tolist():
        if earlier not in originals or not leaves[earlier]:
            originals.setdefault(later, earlier)
    return originals


def similar_pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """Returns the indices of similar images, int64 [pairs, 2], the lower index first, in ascending order.

    Args:
        hashes: uint64 [n].
        thumbnails: uint8 [n, side, side, channels].
    """
    flat = thumbnails.reshape(len(thumbnails), math.prod(thumbnails.shape[1:]))
    channels = thumbnails.shape[3] if thumbnails.ndim == 4 else 1
    similar = [pairs[_correlate(flat, pairs, channels)] for pairs in _close_hashes(hashes)]
    empty = np.empty((0, 2), "int64")
    return np.unique(np.concatenate([empty, *similar]), axis=0)


def _close_hashes(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yields index pairs of hashes that differ in at most MAX_HASH_DISTANCE bits, once per byte that they share."""
    for byte in range(BYTES):
        values = (hashes >> np.uint64(8 * byte)) & np.uint64(255)
        order = np.argsort(values, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(values[order])) + 1):
            rows = max(1, CHUNK_SIZE // max(len(bucket), 1))
            for start in range(0, len(bucket), rows):
                block = bucket[start : start + rows]
                bits = np.bitwise_count(hashes[block][:, None] ^ hashes[bucket][None, :])
                first, second = np.nonzero(bits <= MAX_HASH_DISTANCE)
                pairs = np.stack([block[first], bucket[second]], axis=1)
                yield pairs[pairs[:, 0] < pairs[:, 1]]


def _correlate(flat: np.ndarray, pairs: np.ndarray, channels: int) -> np.ndarray:
    """Returns whether the thumbnails of each pair correlate, bool [pairs]. Thumbnails without contrast never do.

    Those in color must correlate as a whole, and also after the mean of each channel is removed: tissue of one hue
    makes all its images alike as a whole, and a change of hue leaves the patterns of the channels alike.
    """
    alike = _correlate_values(flat, pairs)
    if channels == 1:
        return alike
    centered = flat.reshape(len(flat), -1, channels).astype("float32")
    centered -= centered.mean(axis=1, keepdims=True)
    alike[alike] = _correlate_values(centered.reshape(len(flat), -1), pairs[alike])
    return alike


def _correlate_values(flat: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    first, second = (flat[pairs[:, column]].astype("float32") for column in (0, 1))
    first -= first.mean(axis=1, keepdims=True)
    second -= second.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.asarray((first * second).sum(axis=1) >= MIN_CORRELATION * np.maximum(norms, 1.0))
