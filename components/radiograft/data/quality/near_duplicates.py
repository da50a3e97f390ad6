"""Images that look nearly like one held out more, or like an earlier one of their split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from radiograft.config.data_policy import NEAR_DUPLICATE, NEAR_DUPLICATE_ELSEWHERE
from radiograft.data.catalog import SPLITS

BYTES = 8
# Hashes that differ in fewer bits than they have bytes share a byte, so that buckets by byte find every such pair.
MAX_HASH_DISTANCE = BYTES - 1
# Of 765,585 pairs of NIH's films the most alike of two patients have 0.973, of one patient 0.987 and, the same film
# again, 1; with what it was, a film compressed as JPEG at quality 50, halved, or with noise of 8 levels has more than
# 0.99 always, one brightened by 15 % in 99.6 %.
MIN_CORRELATION = 0.99
CHUNK_SIZE = 2**20  # pairs


def find_near_duplicates(
    rows: pd.DataFrame, hashes: np.ndarray, thumbnails: np.ndarray, *, leave: bool
) -> dict[str, pd.Series[bool]]:
    """Which rows are so, by reason; those of the test split never are, for they stay whatever the policy.

    Args:
        hashes: uint64 [rows], in their order, as validation.looks makes them.
        thumbnails: uint8 [rows, side, side].
        leave: whether those leave; an image that looks like no other but one that leaves is not flawed.
    """
    order = rows["split"].map(SPLITS[::-1].index).argsort(kind="stable").to_numpy()
    splits = rows["split"].to_numpy()[order]
    found = find_repeats(hashes[order], thumbnails[order], leave & (splits != "test"))
    repeated = {later: earlier for later, earlier in found.items() if splits[later] != "test"}

    def marked(within: bool) -> pd.Series[bool]:
        places = [order[one] for one, other in repeated.items() if (splits[one] == splits[other]) == within]
        return pd.Series(np.isin(np.arange(len(rows)), places), index=rows.index)

    return {NEAR_DUPLICATE_ELSEWHERE: marked(within=False), NEAR_DUPLICATE: marked(within=True)}


def find_repeats(hashes: np.ndarray, thumbnails: np.ndarray, leaves: np.ndarray) -> dict[int, int]:
    """Places of images that look like an earlier one that stays, and that one's; other arguments as of `pairs`.

    Args:
        leaves: bool [n], which images leave if they are such.
    """
    found: dict[int, int] = {}
    for earlier, later in similar_pairs(hashes, thumbnails).tolist():
        if earlier not in found or not leaves[earlier]:
            found.setdefault(later, earlier)
    return found


def similar_pairs(hashes: np.ndarray, thumbnails: np.ndarray) -> np.ndarray:
    """Places of images that look the same, int64 [pairs, 2], the lower first, in ascending order.

    Args:
        hashes: uint64 [n].
        thumbnails: uint8 [n, side, side].
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    found = [near[_alike(flat, near)] for near in _near(hashes)]
    none = np.empty((0, 2), "int64")
    return np.unique(np.concatenate([none, *found]), axis=0)


def _near(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Pairs of hashes that differ in at most MOST_BITS bits, several times where they share several bytes."""
    for byte in range(BYTES):
        values = (hashes >> np.uint64(8 * byte)) & np.uint64(255)
        order = np.argsort(values, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(values[order])) + 1):
            rows = max(1, CHUNK_SIZE // max(len(bucket), 1))
            for start in range(0, len(bucket), rows):
                block = bucket[start : start + rows]
                bits = np.bitwise_count(hashes[block][:, None] ^ hashes[bucket][None, :])
                one, other = np.nonzero(bits <= MAX_HASH_DISTANCE)
                near = np.stack([block[one], bucket[other]], axis=1)
                yield near[near[:, 0] < near[:, 1]]


def _alike(flat: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Whether the thumbnails of each pair correlate, bool [pairs]; such without contrast never do."""
    one, other = (flat[near[:, side]].astype("float32") for side in (0, 1))
    one -= one.mean(axis=1, keepdims=True)
    other -= other.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray((one * other).sum(axis=1) >= MIN_CORRELATION * np.maximum(lengths, 1.0))
