"""Checks of decoded images: blank, inverted, and near duplicates by a perceptual hash."""

from __future__ import annotations

import itertools
import logging
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
from radiograft.data.quality.similar_images import SimilarImages
from radiograft.data.soft_labels import majority_class

SIDE = 16  # pixels of a thumbnail; every image_size is a multiple of it
HASH_SIDE = 8
LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)
MAX_GRAY_LEVELS = 2  # maximum difference of the levels of each channel in a blank image
# The maximum over 7,586 real chest radiographs (NIH at 320 and 64 px, PneumoniaMNIST) is 0.24. Of the same images
# inverted, 97% exceed 0.3.
INVERTED_FROM = 0.3
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
    rows: pd.DataFrame, similar: SimilarImages, labels: Iterable[str]
) -> dict[str, pd.Series[bool]]:
    """Returns which rows are near-equal to a row of any split with a different label, by reason.

    Unlike for other near duplicates, the label of none of them can be trusted, and test images count, too.

    Args:
        rows: image_id and the label columns.
        similar: which images of the rows are similar.
        labels: names of the labels.
    """
    truth = majority_class(rows[list(map(label_column, labels))]).to_numpy("float64")
    lowest, highest = (_extreme_labels(similar, truth, extreme) for extreme in (np.fmin, np.fmax))
    # NaN, an unknown label, differs from none.
    contradictory = np.asarray(((truth > lowest) | (truth < highest)).any(axis=1))
    for one, other in itertools.islice(_contradictions(similar, truth, contradictory), MAX_LOGGED):
        log.warning("  near-equal, with different labels: %s and %s", *rows["image_id"].iloc[[one, other]])
    return {CONTRADICTORY_NEAR_COPIES: pd.Series(contradictory, index=rows.index)}


def _extreme_labels(similar: SimilarImages, truth: np.ndarray, extreme: np.ufunc) -> np.ndarray:
    """Returns the lowest or highest known value of each label among the images similar to each image, and itself."""
    own = np.full((max(similar.groups.max(initial=-1), similar.pairs.max(initial=-1)) + 1, truth.shape[1]), np.nan)
    extreme.at(own, similar.groups, truth)
    around = own.copy()
    for first, second in (similar.pairs.T, similar.pairs.T[::-1]):
        extreme.at(around, first, own[second])
    return np.asarray(around[similar.groups])


def _contradictions(similar: SimilarImages, truth: np.ndarray, contradictory: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yields the similar images with different labels, the lower index first, in ascending order."""
    for one in np.flatnonzero(contradictory).tolist():
        own = similar.groups[one]
        around = similar.pairs[(similar.pairs == own).any(axis=1)]
        others = np.isin(similar.groups, [own, *around.ravel()]) & (np.abs(truth - truth[one]) > 0).any(axis=1)
        yield from ((one, other) for other in np.flatnonzero(others).tolist() if other > one)


def find_near_duplicates(rows: pd.DataFrame, similar: SimilarImages, *, leave: bool) -> dict[str, pd.Series[bool]]:
    """Returns which rows are near duplicates, by reason. Test images never are, because the test split stays complete.

    Args:
        rows: `split`.
        similar: which images of the rows are similar.
        leave: whether near duplicates are excluded. An image that resembles only excluded images is not a duplicate.
    """
    order = rows["split"].map(SPLITS[::-1].index).argsort(kind="stable").to_numpy()
    splits = rows["split"].to_numpy()[order]
    originals = find_repeats(similar.where(order), leave & (splits != "test"))
    repeated = (originals >= 0) & (splits != "test")
    from_same_split = splits == splits[originals]

    def mask(repeats: np.ndarray) -> pd.Series[bool]:
        return pd.Series(np.isin(np.arange(len(rows)), order[repeats]), index=rows.index)

    return {
        NEAR_DUPLICATE_ELSEWHERE: mask(repeated & ~from_same_split),
        NEAR_DUPLICATE: mask(repeated & from_same_split),
    }


def find_repeats(similar: SimilarImages, leaves: np.ndarray) -> np.ndarray:
    """Returns for each image the index of the first earlier one that it repeats and that is kept, int64 [n], or -1.

    Args:
        similar: which images are similar.
        leaves: bool [n], whether an image is excluded if it is a repeat.
    """
    images = np.arange(len(leaves))
    count = max(similar.groups.max(initial=-1), similar.pairs.max(initial=-1)) + 1
    first, first_kept = (np.full(count, len(leaves)) for _ in range(2))
    np.minimum.at(first, similar.groups, images)
    np.minimum.at(first_kept, similar.groups[~leaves], images[~leaves])
    originals = first.copy()  # of each group; its first image if that repeats none
    pairs = np.take_along_axis(similar.pairs, np.argsort(first[similar.pairs], axis=1), axis=1)
    for earlier, later in pairs[np.argsort(first[pairs[:, 0]], kind="stable")].tolist():
        repeated = first[earlier] if originals[earlier] == first[earlier] else first_kept[earlier]
        if repeated < first[later]:
            originals[later] = min(originals[later], repeated)
    found = originals[similar.groups]
    return np.where(found < images, found, -1)
