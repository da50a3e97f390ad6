"""Image checks: blank, inverted and near-duplicate images, on synthetic and real radiographs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft.config.data_policy import BLANK, INVERTED, NEAR_DUPLICATE, NEAR_DUPLICATE_ELSEWHERE
from radiograft.data.quality import image_checks
from radiograft.data.quality.image_checks import check_image
from radiograft.data.quality.similar_images import find_similar_images
from tests.helpers.images import encode, noise

SIZE = 64


@pytest.fixture(scope="module")
def films(test_data: Path) -> list[np.ndarray]:
    """A hundred real chest radiographs, uint8 [SIZE, SIZE]."""
    paths = sorted((test_data / "chestxray14/images_001/images").glob("*.png"))[:100]
    opened = (Image.open(path).convert("L").resize((SIZE, SIZE), Image.Resampling.BOX) for path in paths)
    return [np.asarray(film) for film in opened]


def repeats(images: list[np.ndarray]) -> dict[int, int]:
    checks = [check_image(image[..., None]) for image in images]
    hashes = np.array([check.hash for check in checks], "uint64")
    thumbnails = np.stack([check.thumbnail for check in checks])
    return find_repeats(hashes, thumbnails, np.full(len(checks), True))


def find_repeats(hashes: np.ndarray, thumbnails: np.ndarray, leaves: np.ndarray) -> dict[int, int]:
    originals = image_checks.find_repeats(find_similar_images(hashes, thumbnails), leaves).tolist()
    return {later: earlier for later, earlier in enumerate(originals) if earlier >= 0}


def as_jpeg(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encode(image, "JPEG", quality=50))))


def halved(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((SIZE // 2, SIZE // 2)).resize((SIZE, SIZE)))


def noisy(image: np.ndarray) -> np.ndarray:
    return np.clip(image + np.random.default_rng(0).normal(0, 8, image.shape), 0, 255).astype("uint8")


def darker(image: np.ndarray) -> np.ndarray:
    return (image * 0.85).astype("uint8")


def test_check_image_single_gray_level_is_blank() -> None:
    for level in (0, 128, 255):
        assert check_image(np.full((SIZE, SIZE, 1), level, "uint8")).flaws == (BLANK,)
    dim = np.full((SIZE, SIZE, 1), 128, "uint8")
    dim[24:40, 24:40] = 131
    assert check_image(dim).flaws == ()


def test_check_image_inverted_film_is_reported(films: list[np.ndarray]) -> None:
    assert all(check_image(film[..., None]).flaws == () for film in films)
    inverted = sum(check_image(255 - film[..., None]).flaws == (INVERTED,) for film in films)
    assert inverted >= 95


def test_find_repeats_different_patients_returns_none(films: list[np.ndarray]) -> None:
    assert repeats(films) == {}


@pytest.mark.parametrize("change", [as_jpeg, halved, noisy, darker])
def test_find_repeats_modified_film_is_found(
    films: list[np.ndarray], change: Callable[[np.ndarray], np.ndarray]
) -> None:
    count = len(films)
    assert repeats([*films, *map(change, films)]) == {count + index: index for index in range(count)}


def test_find_repeats_chain_maps_to_first_image() -> None:
    image = noise(SIZE)
    assert repeats([image, noise(SIZE, 1), image, noise(SIZE, 1), image]) == {2: 0, 3: 1, 4: 0}


def chain() -> tuple[np.ndarray, np.ndarray]:
    """Returns hashes and thumbnails of three images. The second is similar to both others, which are not similar."""
    images = [noise(16).astype(int) + shift * (noise(16, 1) / 12) for shift in (-1, 0, 1)]
    return np.zeros(3, "uint64"), np.stack([(image / 2 + 20).astype("uint8") for image in images])


@pytest.mark.parametrize(
    ("leaves", "found"), [([True] * 3, {1: 0}), ([False, False, True], {1: 0, 2: 1}), ([False] * 3, {1: 0, 2: 1})]
)
def test_find_repeats_of_excluded_repeat_is_kept(leaves: list[bool], found: dict[int, int]) -> None:
    """Fails if all repeats are assumed to be excluded. Similar test images are all kept, and the second would hide its
    copies in train."""
    hashes, thumbnails = chain()
    assert len(find_similar_images(hashes, thumbnails).pairs) == 2
    assert find_repeats(hashes, thumbnails, np.array(leaves)) == found


@pytest.mark.parametrize(
    ("splits", "leave", "elsewhere", "within"),
    [
        (["test", "test", "train"], True, [False, False, True], [False] * 3),
        (["test", "validation", "train"], True, [False, True, False], [False] * 3),
        (["train"] * 3, True, [False] * 3, [False, True, False]),
        (["train"] * 3, False, [False] * 3, [False, True, True]),
    ],
)
def test_find_near_duplicates_compares_with_kept_images(
    splits: list[str], leave: bool, elsewhere: list[bool], within: list[bool]
) -> None:
    """Fails if test images, or images that data_policy only reports, are assumed to be excluded."""
    masks = image_checks.find_near_duplicates(
        pd.DataFrame({"split": splits}), find_similar_images(*chain()), leave=leave
    )
    assert masks[NEAR_DUPLICATE_ELSEWHERE].tolist() == elsewhere
    assert masks[NEAR_DUPLICATE].tolist() == within


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        ([1, 0, 0], [True, True, False]),
        ([0, 0, 1], [False, True, True]),
        ([1, 0, 1], [True, True, True]),
        ([1, 1, 1], [False] * 3),
        ([1, np.nan, 0], [False] * 3),
    ],
)
def test_find_contradictory_copies_returns_all_copies_with_different_labels(
    truth: list[float], found: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if a copy stays, or if the first and third image, which are not similar, are compared."""
    rows = pd.DataFrame({"label:Mass": truth, "label:Edema": 0.0}, index=[7, 8, 9], dtype="float64")
    rows["image_id"] = ["a.png", "b.png", "c.png"]
    (mask,) = image_checks.find_contradictory_copies(rows, find_similar_images(*chain()), ["Mass", "Edema"]).values()
    assert mask.tolist() == found
    assert list(mask.index) == [7, 8, 9]
    pairs = [record.getMessage() for record in caplog.records]
    assert len(pairs) == sum(found) // 2 + sum(found) % 2
    assert all(" a.png and b.png" in pair or " b.png and c.png" in pair for pair in pairs)


@pytest.mark.parametrize(("name", "images"), [("chestxray14/images_001/images", 730), ("ham10000_224", 533)])
def test_find_contradictory_copies_real_images_are_none(test_data: Path, name: str, images: int) -> None:
    """Fails if different images of different classes count as copies: each image here has a label of its own."""
    paths = sorted(path for path in (test_data / name).rglob("*") if path.suffix in (".png", ".jpg"))
    opened = (Image.open(path).convert("L").resize((SIZE, SIZE), Image.Resampling.BOX) for path in paths)
    checks = [check_image(np.asarray(image)[..., None]) for image in opened]
    similar = find_similar_images(
        np.array([check.hash for check in checks], "uint64"), np.stack([check.thumbnail for check in checks])
    )
    assert len(paths) == images
    assert len(similar.pairs) + images - len(set(similar.groups.tolist())) <= 1  # NIH repeats an image


def tinted(seed: int, tint: tuple[float, float, float]) -> np.ndarray:
    """Returns tissue of one hue: smooth noise times a color, uint8 [SIZE, SIZE, 3]."""
    coarse = Image.fromarray(noise(8, seed)).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
    return (np.asarray(coarse)[..., None] * 0.5 * np.array(tint) + 90 * np.array(tint)).astype("uint8")


PINK, GREEN_TINT = (1.0, 0.6, 0.5), (0.5, 1.0, 0.4)


def color_repeats(images: list[np.ndarray]) -> dict[int, int]:
    checks = [check_image(image) for image in images]
    thumbnails = np.stack([check.thumbnail for check in checks])
    return find_repeats(np.zeros(len(checks), "uint64"), thumbnails, np.full(len(checks), True))


def test_find_repeats_color_copies_are_found() -> None:
    image = tinted(1, PINK)
    assert color_repeats([image, darker(image), as_jpeg(image)]) == {1: 0, 2: 0}


def test_find_repeats_tissue_of_one_hue_is_not_repeated() -> None:
    """Fails if the common hue of all images makes them near duplicates."""
    assert color_repeats([tinted(seed, PINK) for seed in range(4)]) == {}


def test_find_repeats_same_pattern_in_another_hue_is_not_repeated() -> None:
    """Fails if only the patterns count: then images that differ only in their hue, as labels may, are duplicates."""
    assert color_repeats([tinted(1, PINK), tinted(1, GREEN_TINT)]) == {}


@pytest.mark.parametrize("bright_outside", [True, False])
def test_check_image_color_is_never_inverted(bright_outside: bool) -> None:
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2
    lesion = (np.hypot(x, y) < SIZE / 3) != bright_outside
    gray = np.where(lesion, 220, 40).astype("uint8")
    assert check_image(np.stack([gray, gray // 2, gray // 3], axis=-1)).flaws == ()


def test_check_image_uniform_color_is_blank() -> None:
    assert check_image(np.full((SIZE, SIZE, 3), (200, 90, 30), "uint8")).flaws == (BLANK,)
