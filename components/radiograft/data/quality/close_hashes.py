"""Finds all pairs of hashes that differ in a few bits, with an index over bands of bits, and joins sets of members."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

BITS, BANDS = 64, 4
BAND_BITS = BITS // BANDS
# Two hashes that differ in at most 7 bits differ in at most one bit of some band: two bits in each band would be 8.
MAX_HASH_DISTANCE = 2 * BANDS - 1
FLIPS = np.array([0, *(1 << bit for bit in range(BAND_BITS))])  # of a band: no bit, or one
MAX_PAIRS = 2**20  # compared at once
MIN_MATRIX = 2**11  # pairs of two sets that are compared as a matrix, which takes less time per pair but more per set
TILE = 512  # rows and columns of a matrix that are compared at once


class Comparison(Protocol):
    """Compares members by their positions."""

    def pairs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Returns whether the members at these positions match, bool [pairs]."""

    def matrix(self, first: slice, second: slice) -> np.ndarray:
        """Returns whether each member of one range matches each of another, bool [first, second]."""


class HashComparison:
    """Compares hashes, uint64 [n]: two match if they differ in at most MAX_HASH_DISTANCE bits."""

    def __init__(self, hashes: np.ndarray) -> None:
        self.hashes = hashes

    def pairs(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.asarray(np.bitwise_count(self.hashes[first] ^ self.hashes[second]) <= MAX_HASH_DISTANCE)

    def matrix(self, first: slice, second: slice) -> np.ndarray:
        different = self.hashes[first, None] ^ self.hashes[second]
        return np.asarray(np.bitwise_count(different) <= MAX_HASH_DISTANCE)


def close_hashes(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yields the index pairs [pairs, 2] of distinct hashes that differ in at most MAX_HASH_DISTANCE bits, each once.

    The time grows with the number of pairs that agree in a band but for one bit: one in 1,000 if all bits are random,
    and one in 40 for radiographs, whose lowest frequencies are similar.

    Example:
        >>> found = np.concatenate(list(close_hashes(np.array([0, 2**7 - 1, 2**8 - 1], "uint64"))))
        >>> sorted(found.tolist())
        [[0, 1], [1, 2]]
    """
    masks = list[np.uint64]()
    for bits in _deal_bits(hashes):
        values = np.zeros(len(hashes), "uint16")
        for place, bit in enumerate(bits):
            values |= ((hashes >> bit) & np.uint64(1)).astype("uint16") << np.uint16(place)
        order, counts = np.argsort(values, kind="stable"), np.bincount(values, minlength=1 << BAND_BITS)
        comparison = HashComparison(hashes[order])
        found_positions = join_sets(np.cumsum(counts) - counts, counts, _neighbors(counts), comparison)
        for positions in _merge_small(found_positions):
            pairs = np.sort(order[positions], axis=1)
            different = hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]]
            found = [np.bitwise_count(different & mask) <= 1 for mask in masks]  # with an earlier band
            yield pairs[~np.logical_or.reduce(found)] if found else pairs
        masks.append(np.bitwise_or.reduce(np.uint64(1) << bits))


def _merge_small(arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Joins consecutive arrays until they have MAX_PAIRS rows, since each array costs its reader some time."""
    pending, rows = list[np.ndarray](), 0
    for array in arrays:
        pending.append(array)
        rows += len(array)
        if rows >= MAX_PAIRS:
            yield np.concatenate(pending)
            pending, rows = [], 0
    if pending:
        yield np.concatenate(pending)


def _deal_bits(hashes: np.ndarray) -> np.ndarray:
    """Returns the numbers of the bits of each band, uint64 [BANDS, BAND_BITS].

    Bits that are nearly constant, and separate few hashes, are dealt out evenly.
    """
    shares = [np.mean((hashes >> np.uint64(bit)) & np.uint64(1)) if len(hashes) else 0.5 for bit in range(BITS)]
    by_balance = np.argsort(np.abs(np.array(shares) - 0.5), kind="stable").astype("uint64")
    return by_balance.reshape(BAND_BITS, BANDS).T


def _neighbors(counts: np.ndarray) -> np.ndarray:
    """Returns the pairs of values of a band that occur and differ in at most one bit, also a value and itself."""
    values = np.flatnonzero(counts)[:, None]
    others = values ^ FLIPS
    wanted = (values <= others) & (counts[others] > 0)
    return np.stack([np.broadcast_to(values, others.shape)[wanted], others[wanted]], axis=1)


def join_sets(
    starts: np.ndarray, counts: np.ndarray, pairs_of_sets: np.ndarray, comparison: Comparison
) -> Iterator[np.ndarray]:
    """Yields the positions [pairs, 2] of the members of pairs of sets that match, the lower position first.

    Args:
        starts: position of the first member of each set; the others follow.
        counts: number of members of each set.
        pairs_of_sets: numbers of the sets, [pairs, 2]: the lower first, or a set and itself.
        comparison: what matches.
    """
    sizes = counts[pairs_of_sets].prod(axis=1)
    is_large = sizes > MIN_MATRIX
    for first, second in pairs_of_sets[is_large].tolist():
        yield from _join_large(
            range(starts[first], starts[first] + counts[first]),
            range(starts[second], starts[second] + counts[second]),
            comparison,
        )
    small, total = pairs_of_sets[~is_large], np.cumsum(sizes[~is_large])
    cuts = np.searchsorted(total, np.arange(MAX_PAIRS, total[-1] if len(total) else 0, MAX_PAIRS))
    for part in np.split(small, cuts):
        yield _join_small(starts, counts, part, comparison)


def _join_small(starts: np.ndarray, counts: np.ndarray, sets: np.ndarray, comparison: Comparison) -> np.ndarray:
    """Compares the members of many small sets as one list of pairs."""
    one, other = sets.T
    rows, numbers = _number_repeats(counts[one])
    places, offsets = _number_repeats(counts[other][rows])
    first, second = (starts[one][rows] + numbers)[places], starts[other][rows][places] + offsets
    matching = comparison.pairs(first, second) & (first < second)
    return np.stack([first[matching], second[matching]], axis=1)


def _number_repeats(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each index as often as counted, and the number of each repetition.

    Example:
        >>> [part.tolist() for part in _number_repeats(np.array([2, 0, 3]))]
        [[0, 0, 2, 2, 2], [0, 1, 0, 1, 2]]
    """
    starts = np.cumsum(counts) - counts
    return np.repeat(np.arange(len(counts)), counts), np.arange(counts.sum()) - np.repeat(starts, counts)


def _join_large(one: range, other: range, comparison: Comparison) -> Iterator[np.ndarray]:
    """Compares two large sets as matrices of at most TILE rows and columns; of a set and itself, the upper half."""
    for row in one[::TILE]:
        for column in other[::TILE]:
            if row > column + TILE:
                continue
            matching = comparison.matrix(
                slice(row, min(row + TILE, one.stop)), slice(column, min(column + TILE, other.stop))
            )
            pairs = np.argwhere(matching) + np.array([row, column])
            yield pairs[pairs[:, 0] < pairs[:, 1]]
