"""Contact sheet: original images on top, the augmented copies that training uses below."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from radiograft.config.augmentation import Augmentation
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.augment import augment, draw_parameters
from radiograft.reporting.contact_sheet import draw_contact_sheet, training_contact_sheet
from tests.helpers.colors import RED, disk
from tests.helpers.images import noise

GAP = 4


def draw(count: int, size: int, augmentation: Augmentation, seed: int = 0) -> np.ndarray:
    images = np.stack([noise(size, number)[..., None] for number in range(count)])
    ids = tf.constant([f"{number}.png" for number in range(count)])
    return decode(draw_contact_sheet(tf.constant(images), ids, augmentation, seed))


def decode(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as sheet:
        assert (sheet.format, sheet.mode) == ("PNG", "L")
        return np.asarray(sheet)


def cell(sheet: np.ndarray, row: int, column: int, size: int) -> np.ndarray:
    top, left = (GAP + (size + GAP) * index for index in (row, column))
    return sheet[top : top + size, left : left + size]


def test_draw_contact_sheet_column_has_image_and_three_copies() -> None:
    augmentation = Augmentation(rotation_range=90)
    sheet = draw(6, 32, augmentation, seed=3)
    assert sheet.shape == (4 * 36, 6 * 36)
    assert (sheet[:GAP] == 255).all()
    originals = np.stack([noise(32, number) for number in range(6)])
    ids = tf.constant([f"{number}.png" for number in range(6)])
    for column, original in enumerate(originals):
        np.testing.assert_array_equal(cell(sheet, 0, column, 32), original)
    for copy in range(3):
        copies = augment(
            tf.constant(originals[..., None]), draw_parameters(ids, tf.constant(copy), 3), augmentation
        ).numpy()
        for column in range(6):
            np.testing.assert_array_equal(cell(sheet, 1 + copy, column, 32), copies[column, ..., 0])


def test_draw_contact_sheet_depends_on_seed() -> None:
    once, again, other = (draw(6, 32, Augmentation(rotation_range=90), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()


def test_draw_contact_sheet_without_augmentation_repeats_image() -> None:
    sheet = draw(6, 32, Augmentation())
    for row in range(4):
        np.testing.assert_array_equal(cell(sheet, row, 2, 32), noise(32, 2))


def test_draw_contact_sheet_few_images_is_narrow() -> None:
    assert draw(2, 32, Augmentation()).shape == (4 * 36, 2 * 36)


@pytest.mark.parametrize(("size", "shape"), [(160, (656, 984)), (320, (648, 972))])
def test_draw_contact_sheet_large_images_are_scaled_to_160_pixels(size: int, shape: tuple[int, int]) -> None:
    assert draw(6, size, Augmentation()).shape == shape


def test_training_contact_sheet_shows_first_training_images(shards_folder: Path) -> None:
    """An excluded near duplicate is not in the shards and therefore not on the sheet."""
    data = Shards.read(shards_folder)
    sheet = decode(training_contact_sheet(data, 0))
    for column, (image, _, _) in enumerate(data.examples("train").take(6).as_numpy_iterator()):
        np.testing.assert_array_equal(cell(sheet, 0, column, 32), image[..., 0])


def test_draw_contact_sheet_of_images_in_color_is_in_color() -> None:
    images = np.stack([disk(RED, seed, 32) for seed in range(2)])
    png = draw_contact_sheet(tf.constant(images), tf.constant(["a", "b"]), Augmentation(), 0)
    with Image.open(io.BytesIO(png)) as opened:
        assert opened.mode == "RGB"
        sheet = np.asarray(opened)
    assert sheet.shape == (4 * 36, 2 * 36, 3)
    np.testing.assert_array_equal(cell(sheet, 2, 1, 32), images[1])
