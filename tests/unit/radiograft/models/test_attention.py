"""The crop: heat map, largest region, and cutting out of the stored image."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from radiograft.imaging.decode import decode, encode_png
from radiograft.imaging.geometry import ImageInput
from radiograft.models import attention, branches
from radiograft.models.backbone import build_backbone
from radiograft.models.spec import DEFAULT_NAMES
from tests.helpers import squares

HEIGHT, WIDTH = 6, 7
SIDE, SIZE = 48, 32


def region_of_network(height: int, width: int) -> keras.Model:
    heat = keras.Input((height, width))
    return keras.Model(heat, attention.largest_region(heat))


REGION = tf.function(region_of_network(HEIGHT, WIDTH))
# Few levels, so that regions are large, winding and equally large.
heats = arrays.arrays("float32", (HEIGHT, WIDTH), elements=st.sampled_from([0.0, 0.5, 0.70001, 1.0]))


def expected_region(heat: np.ndarray) -> list[float]:
    labels, count = ndimage.label(heat > 0.7)
    if not count:
        return [0, 0, 1, 1]
    largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    rows, columns = ndimage.find_objects((labels == largest).astype(int))[0]
    corner = columns.start / heat.shape[1], rows.start / heat.shape[0]
    return [*corner, (columns.stop - columns.start) / heat.shape[1], (rows.stop - rows.start) / heat.shape[0]]


@given(heat=heats)
@settings(max_examples=300, deadline=None)
def test_largest_region_equals_scipy_on_random_maps(heat: np.ndarray) -> None:
    np.testing.assert_allclose(REGION(tf.constant(heat[None]))[0], expected_region(heat), atol=1e-6)


def test_largest_region_of_a_winding_path_is_found_whole() -> None:
    """A path through most cells: the labels of its ends must meet."""
    heat = np.zeros((7, 7), "float32")
    heat[::2] = 1
    heat[1, 6] = heat[3, 0] = heat[5, 6] = 1
    np.testing.assert_allclose(region_of_network(7, 7)(heat[None])[0], [0, 0, 1, 1])
    heat[3, 0] = 0  # two equal halves: the first one
    np.testing.assert_allclose(region_of_network(7, 7)(heat[None])[0], [0, 0, 1, 3 / 7], atol=1e-6)


def test_heat_map_is_scaled_largest_absolute_activation() -> None:
    activation = np.array([[[[1.0, -5.0], [2.0, 1.0]], [[3.0, 0.0], [1.0, -1.0]]]], "float32")
    np.testing.assert_allclose(attention.heat_map(activation), [[[1, 0.25], [0.5, 0]]])


def test_heat_map_of_equal_values_is_zero_and_the_crop_whole() -> None:
    heat = np.asarray(attention.heat_map(np.ones((1, HEIGHT, WIDTH, 3), "float32")))
    assert not heat.any()
    assert REGION(tf.constant(heat))[0].numpy().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("place", "box"), [((8, 12), [0.25, 0.375, 0.25, 0.25]), ((24, 0), [0.75, 0, 0.25, 0.25])])
def test_find_crop_of_a_bright_square_is_its_box(place: tuple[int, int], box: list[float]) -> None:
    network = squares.network(1, np.array([[9.0, -9.0]]))
    tensors = branches.find_crop(network, DEFAULT_NAMES)
    boxes, crop = keras.Model(tensors.image, [tensors.boxes, tensors.crop])(squares.image(place)[None])
    np.testing.assert_allclose(boxes, [box])
    assert crop.shape == (1, squares.SIZE, squares.SIZE, 1)
    assert (crop.numpy()[0, 4:-4, 4:-4] == 250).all()


def cutter() -> keras.Model:
    image, box = keras.Input((SIDE, SIDE, 3), dtype="uint8"), keras.Input((4,))
    return keras.Model([image, box], attention.cut(image, box, SIZE))


IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3), dtype="uint8")


def resized_files() -> np.ndarray:
    return np.stack([decode(tf.constant(encode_png(image)), ImageInput(SIZE, channels=3)) for image in IMAGES])


def test_shrink_equals_resize_of_preprocess() -> None:
    image = keras.Input((SIDE, SIDE, 3), dtype="uint8")
    network = keras.Model(image, attention.shrink(image, SIZE))
    np.testing.assert_array_equal(network(IMAGES), resized_files())


def test_branch_input_of_a_shrinking_backbone_is_the_shrunk_image() -> None:
    """The layer that shrinks is also part of the graph in which it was built."""
    backbone = build_backbone("efficientnet_lite0", "none", image_size=SIZE, channels=3, stored_size=SIDE)
    shrunk = keras.Model(backbone.input, attention.branch_input(backbone))
    np.testing.assert_array_equal(shrunk(IMAGES), resized_files())
    copy = branches.copy_branch(backbone, "local_")
    expected = backbone(IMAGES, training=False)
    np.testing.assert_allclose(copy(resized_files(), training=False), expected, atol=1e-5)


def test_cut_whole_image_equals_resize_of_preprocess() -> None:
    cut = cutter()([IMAGES, np.tile([[0, 0, 1, 1]], (2, 1))]).numpy()
    assert np.abs(cut.astype(int) - resized_files()).max() <= 1  # sums in another order may round differently


def test_cut_of_the_size_of_the_result_copies_pixels() -> None:
    boxes = np.array([[3, 11, SIZE, SIZE], [16, 0, SIZE, SIZE]]) / SIDE
    cut = cutter()([IMAGES, boxes]).numpy()
    np.testing.assert_array_equal(cut, [IMAGES[0, 11 : 11 + SIZE, 3 : 3 + SIZE], IMAGES[1, :SIZE, 16 : 16 + SIZE]])


@given(draws=st.tuples(st.floats(0, 1, exclude_max=True, width=32), st.floats(0, 1, exclude_max=True, width=32)))
def test_random_boxes_keep_size_and_stay_inside(draws: tuple[float, float]) -> None:
    box = np.array([[0.5, 0.25, 0.375, 0.5]], "float32")
    ((x, y, width, height),) = np.asarray(attention.random_boxes(box, np.array([draws], "float32")))
    assert (width, height) == (0.375, 0.5)
    assert 0 <= x <= 0.625
    assert 0 <= y <= 0.5


def test_copy_network_has_weights_of_its_own_and_saves_in_safe_mode(tmp_path: Path) -> None:
    network = squares.network(2, np.eye(2))
    image = np.stack([squares.image((4, 4)), squares.image((20, 8))])
    copy = attention.copy_network(network, "local_")
    np.testing.assert_array_equal(copy(image), network(image))
    assert {layer.name for layer in copy.layers[1:]} == {f"local_{layer.name}" for layer in network.layers[1:]}
    copy.get_layer("local_probabilities").bias.assign([3.0, -3.0])
    assert np.abs(copy(image) - network(image)).max() > 0.1
    copy.save(tmp_path / "copy.keras")
    loaded = keras.saving.load_model(tmp_path / "copy.keras", safe_mode=True, compile=False)
    np.testing.assert_array_equal(loaded(image), copy(image))
