"""How images look: which are blank or inverted, and which are nearly the same, on drawn and on real films."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from radiograft.config.data_policy import BLANK, INVERTED, NEAR_DUPLICATE, NEAR_DUPLICATE_ELSEWHERE
from radiograft.data.quality import near_duplicates
from radiograft.data.quality.image_checks import check_image
from tests.helpers.images import encode, noise

SIZE = 64


@pytest.fixture(scope="module")
def films(test_data: Path) -> list[np.ndarray]:
    """A hundred real chest films, uint8 [SIZE, SIZE]."""
    paths = sorted((test_data / "chestxray14/images_001/images").glob("*.png"))[:100]
    opened = (Image.open(path).convert("L").resize((SIZE, SIZE), Image.Resampling.BOX) for path in paths)
    return [np.asarray(film) for film in opened]


def repeats(images: list[np.ndarray]) -> dict[int, int]:
    looks = [check_image(image[..., None]) for image in images]
    hashes = np.array([each.hash for each in looks], "uint64")
    return near_duplicates.find_repeats(hashes, np.stack([each.thumbnail for each in looks]), np.full(len(looks), True))


def as_jpeg(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encode(image, "JPEG", quality=50))))


def halved(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIZE // 2, SIZE // 2)).resize((SIZE, SIZE)))


def noisy(image: np.ndarray) -> np.ndarray:
    return np.clip(image + np.random.default_rng(0).normal(0, 8, image.shape), 0, 255).astype("uint8")


def darker(image: np.ndarray) -> np.ndarray:
    return (image * 0.85).astype("uint8")


def test_per_image_of_one_shade_is_blank_and_one_of_any_contrast_is_not() -> None:
    for shade in (0, 128, 255):
        assert check_image(np.full((SIZE, SIZE, 1), shade, "uint8")).flaws == (BLANK,)
    dim = np.full((SIZE, SIZE, 1), 128, "uint8")
    dim[24:40, 24:40] = 131
    assert check_image(dim).flaws == ()


def test_no_real_film_looks_inverted_and_inverted_ones_do(films: list[np.ndarray]) -> None:
    assert all(check_image(film[..., None]).flaws == () for film in films)
    found = sum(check_image(255 - film[..., None]).flaws == (INVERTED,) for film in films)
    assert found >= 95


def test_films_of_different_patients_are_never_taken_for_one_another(films: list[np.ndarray]) -> None:
    assert repeats(films) == {}


@pytest.mark.parametrize("change", [as_jpeg, halved, noisy, darker])
def test_a_film_is_found_again_however_it_was_changed(
    films: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    count = len(films)
    assert repeats([*films, *map(change, films)]) == {count + place: place for place in range(count)}


def test_of_a_chain_those_are_repeats_that_look_like_one_that_stays() -> None:
    image = noise(SIZE)
    assert repeats([image, noise(SIZE, 1), image, noise(SIZE, 1), image]) == {2: 0, 3: 1, 4: 0}


def in_a_row() -> tuple[np.ndarray, np.ndarray]:
    """Hashes and thumbnails of three images of which the second looks like both others, and these not alike."""
    images = [noise(16).astype(int) + shift * (noise(16, 1) / 12) for shift in (-1, 0, 1)]
    return np.zeros(3, "uint64"), np.stack([(each / 2 + 20).astype("uint8") for each in images])


@pytest.mark.parametrize(
    ("leaves", "found"), [([True] * 3, {1: 0}), ([False, False, True], {1: 0, 2: 1}), ([False] * 3, {1: 0, 2: 1})]
)
def test_what_looks_like_a_repeat_is_one_unless_that_leaves(leaves: list[bool], found: dict[int, int]) -> None:
    """Fails where every repeat is taken to leave: of two alike test images, which never do, the second would hide
    its copies in train."""
    hashes, thumbnails = in_a_row()
    assert near_duplicates.similar_pairs(hashes, thumbnails).tolist() == [[0, 1], [1, 2]]
    assert near_duplicates.find_repeats(hashes, thumbnails, np.array(leaves)) == found


@pytest.mark.parametrize(
    ("splits", "leave", "elsewhere", "within"),
    [
        (["test", "test", "train"], True, [False, False, True], [False] * 3),
        (["test", "validation", "train"], True, [False, True, False], [False] * 3),
        (["train"] * 3, True, [False] * 3, [False, True, False]),
        (["train"] * 3, False, [False] * 3, [False, True, True]),
    ],
)
def test_near_duplicates_are_those_of_images_that_stay(
    splits: list[str], leave: bool, elsewhere: list[bool], within: list[bool]
) -> None:
    """Fails where images of test are taken to leave, or any of which data_policy is only told."""
    found = near_duplicates.find_near_duplicates(pd.DataFrame({"split": splits}), *in_a_row(), leave=leave)
    assert found[NEAR_DUPLICATE_ELSEWHERE].tolist() == elsewhere
    assert found[NEAR_DUPLICATE].tolist() == within


@settings(deadline=None, max_examples=40)
@given(data=st.data(), count=st.integers(2, 40))
def test_every_pair_of_close_hashes_is_found(data: st.DataObject, count: int) -> None:
    """Hashes a few bits from one another, beside strangers; against comparing all with all."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    hashes = rng.integers(0, 2**63, count, dtype="uint64")
    for place in range(1, count, 2):
        flips = rng.choice(64, rng.integers(0, 12), replace=False)
        hashes[place] = hashes[place - 1] ^ np.bitwise_or.reduce(np.uint64(1) << flips.astype("uint64"), initial=0)
    same = np.broadcast_to(noise(16), (count, 16, 16))
    expected = [
        [one, other]
        for one in range(count)
        for other in range(one + 1, count)
        if (int(hashes[one]) ^ int(hashes[other])).bit_count() <= 7
    ]
    assert near_duplicates.similar_pairs(hashes, same).tolist() == expected
