"""The search for similar images, compared with a search of all pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiograft.config.data_policy import CONTRADICTORY_NEAR_COPIES
from radiograft.data.quality import close_hashes, image_checks
from radiograft.data.quality.similar_images import SimilarImages, find_similar_images
from tests.helpers.images import noise

SIDE = 16


def expand(similar: SimilarImages) -> list[tuple[int, int]]:
    """Returns all pairs of similar images."""
    linked = {(first, second) for first, second in similar.pairs.tolist()}
    groups = enumerate(similar.groups.tolist())
    return [
        (one, other)
        for (one, first), (other, second) in itertools.combinations(groups, 2)
        if first == second or (min(first, second), max(first, second)) in linked
    ]


def is_close(one: np.uint64, other: np.uint64) -> bool:
    return (int(one) ^ int(other)).bit_count() <= 7


def correlates(one: np.ndarray, other: np.ndarray) -> bool:
    """Returns whether two thumbnails correlate, as a whole and without the mean of each channel."""
    for axis in (None, (0, 1)):
        first, second = (image.astype("float64") - image.mean(axis=axis) for image in (one, other))
        norms = np.linalg.norm(first) * np.linalg.norm(second)
        if (first * second).sum() < 0.99 * max(norms, 1):
            return False
    return True


def brute_force(hashes: np.ndarray, thumbnails: np.ndarray) -> list[tuple[int, int]]:
    return [
        (one, other)
        for one, other in itertools.combinations(range(len(hashes)), 2)
        if is_close(hashes[one], hashes[other]) and correlates(thumbnails[one], thumbnails[other])
    ]


def repeats_of(pairs: list[tuple[int, int]], leaves: np.ndarray) -> list[int]:
    """Returns the first kept image that each image repeats, or -1, one pair after the other."""
    originals = np.full(len(leaves), -1)
    for earlier, later in pairs:
        if (originals[earlier] < 0 or not leaves[earlier]) and originals[later] < 0:
            originals[later] = earlier
    return originals.tolist()


def flip(hash_: np.uint64, count: int, rng: np.random.Generator) -> np.uint64:
    bits = rng.choice(64, count, replace=False).astype("uint64")
    return hash_ ^ np.bitwise_or.reduce(np.uint64(1) << bits, initial=np.uint64(0))


def draw_hashes(rng: np.random.Generator, count: int, centers: int) -> np.ndarray:
    """Returns random hashes in clusters; most distances within a cluster are from 0 to 12."""
    middles = rng.integers(0, 2**64, centers, dtype="uint64")
    return np.array([flip(rng.choice(middles), rng.integers(0, 7), rng) for _ in range(count)], "uint64")


def draw_thumbnails(rng: np.random.Generator, count: int, channels: int) -> np.ndarray:
    """Returns copies of three patterns, equal, brighter or noisy, with hues of their own, and blank thumbnails."""
    patterns = rng.integers(0, 200, (3, SIDE, SIDE, channels)) * rng.choice([0.0, 0.01, 1.0], (3, 1, 1, channels))
    drawn = patterns[rng.integers(0, 3, count)] + rng.choice([0, 20], (count, 1, 1, channels))
    drawn += rng.normal(0, 12, drawn.shape) * rng.choice([0, 0.4, 1], (count, 1, 1, 1))
    return np.clip(drawn, 0, 255).astype("uint8")


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(0, 40),
    centers=st.integers(1, 40),
    channels=st.sampled_from([1, 3]),
    matrix=st.sampled_from([0, 2**11]),
    tile=st.sampled_from([3, 512]),
)
def test_find_similar_images_equals_search_of_all_pairs(
    seed: int, count: int, centers: int, channels: int, matrix: int, tile: int
) -> None:
    """Compares pairs, repeats and contradictions, for sets that are compared as lists and as matrices."""
    rng = np.random.default_rng(seed)
    hashes, thumbnails = draw_hashes(rng, count, centers), draw_thumbnails(rng, count, channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(close_hashes, "MIN_MATRIX", matrix)
        patch.setattr(close_hashes, "TILE", tile)
        patch.setattr(close_hashes, "MAX_PAIRS", 7)
        similar = find_similar_images(hashes, thumbnails)
    expected = brute_force(hashes, thumbnails)
    assert expand(similar) == expected
    assert len(np.unique(similar.pairs, axis=0)) == len(similar.pairs)
    leaves = rng.random(count) < 0.7
    assert image_checks.find_repeats(similar, leaves).tolist() == repeats_of(expected, leaves)
    truth = rng.choice([0.0, 1.0, np.nan], (count, 2))
    different = [pair for pair in expected if (np.abs(truth[pair[0]] - truth[pair[1]]) > 0).any()]
    rows = pd.DataFrame(truth, columns=["label:Mass", "label:Edema"]).assign(image_id="a.png")
    found = image_checks.find_contradictory_copies(rows, similar, ["Mass", "Edema"])[CONTRADICTORY_NEAR_COPIES]
    assert set(np.flatnonzero(found)) == set(itertools.chain(*different))


@pytest.mark.parametrize(("distance", "found"), [(0, True), (7, True), (8, False)])
def test_find_similar_images_hash_distance_above_7_is_not_similar(distance: int, found: bool) -> None:
    """Fails if a distribution of the differing bits over the bands is missed."""
    rng = np.random.default_rng(distance)
    for _ in range(100):
        first = rng.integers(0, 2**64, dtype="uint64")
        hashes = np.array([first, flip(first, distance, rng)], "uint64")
        assert (expand(find_similar_images(hashes, np.stack([noise(SIDE)] * 2))) == [(0, 1)]) is found


def test_find_similar_images_of_many_copies_lists_no_pairs_of_them() -> None:
    """Fails if the pairs of equal images are listed: 100,000 copies have 5,000,000,000."""
    copies, blanks = 100_000, 1000
    thumbnails = np.concatenate(
        [np.broadcast_to(noise(SIDE), (copies, SIDE, SIDE)), np.zeros((blanks, SIDE, SIDE), "uint8")]
    )
    similar = find_similar_images(np.zeros(len(thumbnails), "uint64"), thumbnails)
    assert len(similar.pairs) == 0
    assert np.unique(similar.groups, return_counts=True)[1].tolist().count(copies) == 1
    originals = image_checks.find_repeats(similar, np.full(len(thumbnails), True))
    assert originals[1:copies].tolist() == [0] * (copies - 1)
    assert set(originals[copies:]) == {-1}


def test_find_similar_images_equal_hashes_of_different_images_are_compared() -> None:
    """Fails if images with one hash count as equal, or if pairs are lost between tiles of a matrix."""
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (2000, SIDE, SIDE), dtype="uint8")
    thumbnails[1999] = np.maximum(thumbnails[3], 1)
    similar = find_similar_images(np.full(2000, 17, "uint64"), thumbnails)
    assert expand(similar) == [(3, 1999)]
