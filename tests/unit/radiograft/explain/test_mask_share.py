"""Share of heat inside masks, such as of the lungs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radiograft.explain.mask_share import find_mask_files, read_mask, score_masks, share_inside
from radiograft.imaging.geometry import ImageInput
from tests.helpers.squares import SIZE, SQUARE, brightness, shards

PLACES = [(0, 0), (24, 24), (0, 24), (24, 0)]


def write_mask(path: Path, place: tuple[int, int], mode: str = "1") -> None:
    x, y = place
    pixels = np.zeros((SIZE, SIZE), bool)
    pixels[y : y + SQUARE, x : x + SQUARE] = True
    image = Image.fromarray(pixels) if mode == "1" else Image.fromarray(pixels.astype("uint8"))  # 0 and 1
    path.parent.mkdir(exist_ok=True)
    image.save(path)


def test_share_inside_worked_example() -> None:
    heat = np.array([[1.0, 0.25], [0.5, 0.25]])
    assert share_inside(heat, np.array([[True, True], [False, False]])) == pytest.approx(0.625)
    assert np.isnan(share_inside(np.zeros((2, 2)), np.ones((2, 2), bool)))


@pytest.mark.parametrize("mode", ["1", "L"])
def test_read_mask_of_one_or_eight_bits_follows_the_image_into_the_square(mode: str, tmp_path: Path) -> None:
    write_mask(tmp_path / "a.png", (8, 16), mode)
    mask = read_mask(str(tmp_path / "a.png"), ImageInput(2 * SIZE))
    assert (mask.shape, int(mask.sum())) == ((64, 64), (2 * SQUARE) ** 2)
    assert mask[32:48, 16:32].all()


def test_find_mask_files_matches_stems_in_any_folder(tmp_path: Path) -> None:
    for name in ("a.png", "deep/b_mask.png", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_mask_files(str(tmp_path), ["images/a.jpg", "b.png", "d.png"])
    assert {image: Path(uri).name for image, uri in found.items()} == {"images/a.jpg": "a.png", "b.png": "b_mask.png"}


def test_find_mask_files_without_match_raises(tmp_path: Path) -> None:
    (tmp_path / "other.png").touch()
    with pytest.raises(ValueError, match=r"evaluate_masks must contain masks named as the test images, .* of 1 files"):
        find_mask_files(str(tmp_path), ["a.png"])


def test_score_masks_square_detector_is_inside_and_controls_are_not(tmp_path: Path) -> None:
    data = shards(tmp_path / "shards", {"train": [(0, 0)], "test": PLACES}, {"test": [1.0, 1.0, 1.0, 0.0]})
    for number, place in enumerate(PLACES):
        write_mask(tmp_path / "masks" / f"test-{number}.png", place)
    scored = score_masks(data, str(tmp_path / "masks"), brightness(), samples=100, seed=0)
    assert (scored["split"], list(scored["labels"])) == ("test", ["Bright"])  # no image has the other label
    bright = scored["labels"]["Bright"]
    assert (bright["n_images"], bright["n_patients"]) == (3, 2)
    assert bright["area"]["value"] == pytest.approx(1 / 16)
    assert list(bright["maps"]) == ["grad_cam", "layer_cam", "centre", "random"]
    inside = {name: share["value"] or 0.0 for name, share in bright["maps"].items()}
    assert inside["grad_cam"] > 0.5  # resizing smooths its 8 x 8 cells, and the background is not quite dark
    assert inside["centre"] < 0.05
    assert inside["random"] == pytest.approx(1 / 16, abs=0.02)
