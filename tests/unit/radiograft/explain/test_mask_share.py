"""Share of heat inside masks, such as of the lungs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from radiograft.explain.mask_share import find_mask_files, find_masks, read_mask, score_masks, share_inside
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


def test_find_masks_of_a_table_fills_its_boxes_in_the_square(tmp_path: Path) -> None:
    """Boxes are pixels of the image, 20 high and 40 wide; padded to a square of 20, it has 10 rows in the middle."""
    table = tmp_path / "boxes.csv"
    table.write_text("image,view,right_lung_box,left_lung_box\na,PA,0 0 20 10,\nb,PA,,\nc,PA,20 10 20 10,0 0 4 4\n")
    rows = pd.DataFrame({"image_id": ["images/a.jpg", "b.jpg", "c.jpg", "d.jpg"], "height": 20, "width": 40})
    masks = find_masks(str(table), rows, ImageInput(20, "pad"))
    assert list(masks) == ["images/a.jpg", "c.jpg"]
    expected = np.zeros((20, 20), bool)
    expected[5:10, :10] = True
    np.testing.assert_array_equal(masks["images/a.jpg"](), expected)
    both = np.zeros((20, 20), bool)
    both[10:15, 10:] = both[5:7, :2] = True
    np.testing.assert_array_equal(masks["c.jpg"](), both)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,lungs\na,0 0 1 1\n", "evaluate_masks must name a table with columns that end in `_box`, got"),
        ("image,lung_box\na,0 0 1\n", "evaluate_masks must have boxes as `x y width height` in pixels, got '0 0 1'"),
        ("image,lung_box\nb,0 0 1 1\n", "evaluate_masks must have boxes of test images, but none of 1 rows of"),
    ],
)
def test_find_masks_of_a_malformed_table_raises(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(content)
    rows = pd.DataFrame({"image_id": ["a.jpg"], "height": 20, "width": 40})
    with pytest.raises(ValueError, match=message):
        find_masks(str(tmp_path / "boxes.csv"), rows, ImageInput(20))
