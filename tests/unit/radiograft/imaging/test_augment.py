"""Augmentation: the geometry of Keras's ImageDataGenerator, and draws that depend only on seed, image and view."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import scipy.stats  # type: ignore[import-untyped]
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.legacy.preprocessing.image import apply_affine_transform

from radiograft.config.augmentation import Augmentation
from radiograft.imaging.augment import DRAWS, augment, choose_operations, draw_parameters

pytestmark = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # raised by Keras's use of SciPy

SIZE = 40
ANGLE, ACROSS, DOWN, SHEAR, ZOOM_X, ZOOM_Y, FLIP_X, FLIP_Y, BRIGHTNESS, CONTRAST, SHIFT, HUE, SATURATION = range(DRAWS)
EVERYTHING = Augmentation(
    rotation_range=25,
    width_shift_range=0.2,
    height_shift_range=0.2,
    shear_range=20,
    zoom_range=0.3,
    horizontal_flip=True,
    vertical_flip=True,
)


def waves() -> np.ndarray:
    """Returns a smooth image without symmetry, uint8 [SIZE, SIZE, 1]."""
    y, x = np.mgrid[:SIZE, :SIZE]
    gray = 128 + 50 * np.sin(x / 5) + 40 * np.cos(y / 7) + 30 * np.sin((x + 2 * y) / 9)
    return gray.astype(np.uint8)[..., None]


def draws(**by_name: float) -> np.ndarray:
    """Returns the draws of one image: the given values, and 0.5, which changes nothing, for all others."""
    values = np.full((1, DRAWS), 0.5, dtype=np.float32)
    for name, value in by_name.items():
        values[0, globals()[name]] = value
    return values


def augmented(augmentation: Augmentation, values: np.ndarray, image: np.ndarray | None = None) -> np.ndarray:
    images = (waves() if image is None else image)[None]
    result: np.ndarray = augment(tf.constant(images), tf.constant(values), augmentation).numpy()
    assert result.dtype == np.uint8
    assert result.shape == images.shape
    return result[0]


def by_keras(**parameters: Any) -> np.ndarray:
    """Applies the affine transformation of ImageDataGenerator: tx shifts and zx zooms horizontally.

    In Keras 3, get_random_transform assigns the height shift to tx, so that width_shift_range shifts vertically. Ours
    follows the parameters' names.
    """
    moved: np.ndarray = apply_affine_transform(
        waves().astype("float32"), row_axis=0, col_axis=1, channel_axis=2, **parameters
    )
    return moved


def ramp(columns: list[int]) -> np.ndarray:
    """Returns an image of eight equal rows."""
    return np.tile(np.array(columns, dtype=np.uint8), (8, 1))[..., None]


def test_augment_without_augmentation_returns_images_unchanged() -> None:
    values = np.random.default_rng(0).random((1, DRAWS), dtype=np.float32)
    np.testing.assert_array_equal(augmented(Augmentation(), values), waves())


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_augment_strength_is_a_fraction_of_every_range(strength: float) -> None:
    values = np.random.default_rng(0).random((1, DRAWS), dtype=np.float32)
    ranges = ("rotation_range", "width_shift_range", "height_shift_range", "shear_range", "zoom_range")
    scaled = dataclasses.replace(EVERYTHING, **{name: strength * getattr(EVERYTHING, name) for name in ranges})
    weaker = dataclasses.replace(EVERYTHING, strength=strength)
    np.testing.assert_allclose(augmented(weaker, values), augmented(scaled, values), atol=1)


def test_augment_strength_scales_factors_about_one() -> None:
    values, image = draws(BRIGHTNESS=1.0), ramp([0, 100, 200])
    bright = Augmentation(brightness_range="0.9:1.3", strength=0.5)
    np.testing.assert_array_equal(augmented(bright, values, image)[0, :, 0], [0, 115, 230])


@pytest.mark.parametrize("number", [1, 2, 4])
def test_choose_operations_keeps_as_many_of_each_image_and_all_flips(number: int) -> None:
    ids = tf.constant([f"image-{n}" for n in range(2000)])
    values = draw_parameters(ids, tf.constant(0, tf.int64), 3)
    varied = dataclasses.replace(EVERYTHING, contrast_range="0.5:2", number=number)
    chosen, given = choose_operations(values, varied).numpy(), values.numpy()
    np.testing.assert_array_equal(chosen[:, [FLIP_X, FLIP_Y]], given[:, [FLIP_X, FLIP_Y]])
    single = [ANGLE, ACROSS, DOWN, SHEAR, ZOOM_X, CONTRAST]
    neutral = np.array([0.5, 0.5, 0.5, 0.5, 0.5, 1 / 3])
    kept = ~np.isclose(chosen[:, single], neutral)
    np.testing.assert_array_equal(kept.sum(axis=1) <= number, True)
    np.testing.assert_allclose(kept.mean(axis=0), number / 6, atol=0.04)  # each equally often
    np.testing.assert_array_equal(chosen[:, single][kept], given[:, single][kept])
    np.testing.assert_array_equal(np.isclose(chosen[:, ZOOM_Y], 0.5), ~kept[:, single.index(ZOOM_X)])


def test_augment_number_and_strength_in_a_graph_equals_eager() -> None:
    varied = dataclasses.replace(EVERYTHING, brightness_range="0.5:2", number=2, strength=0.5)
    values = np.random.default_rng(0).random((1, DRAWS), dtype=np.float32)
    in_graph = tf.function(lambda images, numbers: augment(images, numbers, varied))
    np.testing.assert_array_equal(
        in_graph(tf.constant(waves()[None]), tf.constant(values)).numpy()[0], augmented(varied, values)
    )


def test_choose_operations_without_ranges_changes_nothing() -> None:
    values = np.random.default_rng(0).random((1, DRAWS), dtype=np.float32)
    np.testing.assert_array_equal(augmented(Augmentation(number=2, strength=0.5), values), waves())


def test_augment_middle_of_ranges_returns_images_unchanged() -> None:
    np.testing.assert_array_equal(augmented(EVERYTHING, draws()), waves())


@pytest.mark.parametrize(
    ("augmentation", "values", "parameters"),
    [
        (Augmentation(rotation_range=20), draws(ANGLE=1.0), {"theta": 20}),
        (Augmentation(rotation_range=20), draws(ANGLE=0.0), {"theta": -20}),
        (Augmentation(rotation_range=180), draws(ANGLE=0.75), {"theta": 90}),
        (Augmentation(width_shift_range=0.2), draws(ACROSS=1.0), {"tx": 0.2 * SIZE}),
        (Augmentation(width_shift_range=0.2), draws(ACROSS=0.1), {"tx": -0.16 * SIZE}),
        (Augmentation(height_shift_range=0.1), draws(DOWN=0.9), {"ty": 0.08 * SIZE}),
        (Augmentation(shear_range=30), draws(SHEAR=1.0), {"shear": 30}),
        (Augmentation(shear_range=30), draws(SHEAR=0.25), {"shear": -15}),
        (Augmentation(zoom_range=0.3), draws(ZOOM_X=1.0), {"zx": 1.3}),
        (Augmentation(zoom_range=0.3), draws(ZOOM_X=0.0), {"zx": 0.7}),
        (Augmentation(zoom_range=0.4), draws(ZOOM_Y=0.75), {"zy": 1.2}),
        (
            Augmentation(rotation_range=20, fill_mode="reflect"),
            draws(ANGLE=1.0),
            {"theta": 20, "fill_mode": "reflect"},
        ),
    ],
)
def test_augment_single_parameter_matches_keras(
    augmentation: Augmentation, values: np.ndarray, parameters: dict[str, float]
) -> None:
    expected = by_keras(**parameters)
    np.testing.assert_allclose(augmented(augmentation, values), expected, atol=0.51)
    assert np.abs(expected - waves()).max() > 20


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=DRAWS, max_size=DRAWS))
def test_augment_combined_parameters_match_keras(numbers: list[float]) -> None:
    values = np.array([numbers], dtype=np.float32)
    spread = 2 * values[0].astype("float64") - 1
    expected = by_keras(
        theta=25 * spread[ANGLE],
        tx=0.2 * SIZE * spread[ACROSS],
        ty=0.2 * SIZE * spread[DOWN],
        shear=20 * spread[SHEAR],
        zx=1 + 0.3 * spread[ZOOM_X],
        zy=1 + 0.3 * spread[ZOOM_Y],
    )
    expected = expected[:, ::-1] if values[0, FLIP_X] < 0.5 else expected
    expected = expected[::-1] if values[0, FLIP_Y] < 0.5 else expected
    np.testing.assert_allclose(augmented(EVERYTHING, values), expected, atol=0.6)


@pytest.mark.parametrize(
    ("fill_mode", "columns"),
    [
        ("nearest", [30, 40, 50, 60, 70, 80, 80, 80]),
        ("constant", [30, 40, 50, 60, 70, 80, 9, 9]),
        ("reflect", [30, 40, 50, 60, 70, 80, 80, 70]),
        ("wrap", [30, 40, 50, 60, 70, 80, 10, 20]),
    ],
)
def test_augment_fill_mode_fills_beyond_border(fill_mode: str, columns: list[int]) -> None:
    augmentation = Augmentation(width_shift_range=0.5, fill_mode=fill_mode, cval=9)
    two_pixels = draws(ACROSS=0.75)
    shifted = augmented(augmentation, two_pixels, ramp([10, 20, 30, 40, 50, 60, 70, 80]))
    np.testing.assert_array_equal(shifted, ramp(columns))


def test_augment_flips_mirror_about_center() -> None:
    both = Augmentation(horizontal_flip=True, vertical_flip=True)
    np.testing.assert_array_equal(augmented(both, draws(FLIP_X=0.4)), waves()[:, ::-1])
    np.testing.assert_array_equal(augmented(both, draws(FLIP_Y=0.0)), waves()[::-1])
    np.testing.assert_array_equal(augmented(both, draws(FLIP_X=0.5, FLIP_Y=0.99)), waves())
    np.testing.assert_array_equal(
        augmented(Augmentation(vertical_flip=True), draws(FLIP_X=0.0, FLIP_Y=0.0)), waves()[::-1]
    )


def test_augment_brightness_scales_and_clips() -> None:
    augmentation = Augmentation(brightness_range="0.5:1.5")
    columns = ramp([0, 1, 50, 100, 150, 200, 250, 255])
    np.testing.assert_array_equal(
        augmented(augmentation, draws(BRIGHTNESS=0.0), columns), ramp([0, 0, 25, 50, 75, 100, 125, 128])
    )
    np.testing.assert_array_equal(
        augmented(augmentation, draws(BRIGHTNESS=0.75), columns), ramp([0, 1, 62, 125, 188, 250, 255, 255])
    )


def test_augment_brightness_matches_keras_up_to_rounding() -> None:
    generator = keras.src.legacy.preprocessing.image.ImageDataGenerator(brightness_range=(0.6, 1.4))
    for factor in (0.6, 0.77, 1.4):
        expected = generator.apply_transform(waves().astype("float32"), {"brightness": factor})
        values = draws(BRIGHTNESS=(factor - 0.6) / 0.8)
        ours = augmented(Augmentation(brightness_range="0.6:1.4"), values).astype(int)
        np.testing.assert_allclose(ours, expected, atol=1)


def test_augment_contrast_scales_distance_from_mean() -> None:
    augmentation = Augmentation(contrast_range="0.5:1.5")
    columns = ramp([0, 60, 100, 140, 200])  # the mean is 100
    np.testing.assert_array_equal(augmented(augmentation, draws(CONTRAST=0.0), columns), ramp([50, 80, 100, 120, 150]))
    np.testing.assert_array_equal(augmented(augmentation, draws(CONTRAST=1.0), columns), ramp([0, 40, 100, 160, 250]))


def test_augment_batch_uses_draws_of_each_image() -> None:
    values = np.random.default_rng(1).random((5, DRAWS), dtype=np.float32)
    images = np.stack([np.roll(waves(), 3 * shift, axis=0) for shift in range(5)])
    together = augment(tf.constant(images), tf.constant(values), EVERYTHING).numpy()
    for image, row, expected in zip(images, values, together, strict=True):
        np.testing.assert_array_equal(augmented(EVERYTHING, row[None], image), expected)


IDS = [f"{number:08d}_000.png" for number in range(64)]


def drawn(ids: list[str], view: int, seed: int) -> np.ndarray:
    values: np.ndarray = draw_parameters(tf.constant(ids), tf.constant(view, tf.int64), seed).numpy()
    return values


def test_draw_parameters_have_known_values() -> None:
    buckets = drawn(["00000001_000.png"], view=0, seed=0)[0] * 2**24
    assert buckets[:10].tolist() == [
        4092262, 5644191, 13550520, 6385961, 15965505, 5216175, 16656812, 9028690, 15083521, 1798435,
    ]  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(16)), cut=st.integers(1, 15), view=st.integers(0, 9), seed=st.integers(0, 2**31))
def test_draw_parameters_are_independent_of_batch_and_order(order: list[int], cut: int, view: int, seed: int) -> None:
    whole = drawn(IDS[:16], view, seed)
    shuffled = [IDS[number] for number in order]
    parts = np.concatenate([drawn(shuffled[:cut], view, seed), drawn(shuffled[cut:], view, seed)])
    np.testing.assert_array_equal(parts, whole[list(order)])


def test_augment_eager_and_tf_data_are_equal() -> None:
    images = np.stack([waves()] * 8)

    def view_of(images: tf.Tensor, ids: tf.Tensor) -> tf.Tensor:
        return augment(images, draw_parameters(ids, tf.constant(3, tf.int64), 7), EVERYTHING)

    eager = view_of(tf.constant(images), tf.constant(IDS[:8])).numpy()
    stream = tf.data.Dataset.from_tensor_slices((images, IDS[:8])).batch(3).map(view_of)
    np.testing.assert_array_equal(np.concatenate(list(stream.as_numpy_iterator())), eager)
    assert len({image.tobytes() for image in eager}) == 8


def test_draw_parameters_differ_by_seed_image_view_and_parameter() -> None:
    values = np.concatenate([drawn(IDS, view, seed).ravel() for view in (0, 1, 11) for seed in (0, 1)])
    assert len(np.unique(values)) >= len(values) - 1  # of 3,456 draws from 2**24, about 0.4 pairs are equal by chance


def test_draw_parameters_are_uniform_and_uncorrelated() -> None:
    values = np.concatenate([drawn(IDS, view, seed=5) for view in range(64)])
    assert values.min() >= 0
    assert values.max() < 1
    for column in values.T:
        assert scipy.stats.kstest(column, "uniform").pvalue > 1e-3
    correlation = np.corrcoef(values.T) - np.eye(DRAWS)
    assert np.abs(correlation).max() < 4 / np.sqrt(len(values))


def colors(*pixels: tuple[int, int, int]) -> np.ndarray:
    """Returns an image of eight equal rows, uint8 [8, pixels, 3], as wide as it is high."""
    return np.tile(np.array(pixels, dtype=np.uint8)[None].repeat(8 // len(pixels), axis=1), (8, 1, 1))


RED, GREEN, BLUE, YELLOW, GRAY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (90, 90, 90)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [(0.5, (RED, GRAY)), (1.0, (GREEN, GRAY)), (0.0, (BLUE, GRAY)), (0.75, (YELLOW, GRAY))],
)
def test_augment_hue_turns_the_color_circle(draw: float, expected: tuple[tuple[int, int, int], ...]) -> None:
    result = augmented(Augmentation(hue_range=1 / 3), draws(HUE=draw), colors(RED, GRAY))
    np.testing.assert_array_equal(result, colors(*expected))


@pytest.mark.parametrize(
    ("draw", "expected"),
    [(0.0, (GRAY, (200, 150, 150))), (1.0, (GRAY, RED)), (0.5, (GRAY, (200, 100, 100)))],
)
def test_augment_saturation_scales_distance_from_gray(draw: float, expected: tuple[tuple[int, int, int], ...]) -> None:
    """A saturation of 0.5 times factors of 0.5, 1.25 rounded into range, and the mean of both."""
    image = colors(GRAY, (200, 100, 100))
    augmentation = Augmentation(saturation_range="0.5:1.5" if draw < 1 else "0.5:9")
    np.testing.assert_array_equal(augmented(augmentation, draws(SATURATION=draw), image), colors(*expected))


@pytest.mark.parametrize(("draw", "expected"), [(1.0, [40, 110, 120]), (0.0, [20, 60, 110]), (0.5, [20, 80, 120])])
def test_augment_channel_shift_stays_in_range_of_image(draw: float, expected: list[int]) -> None:
    """As `apply_channel_shift` of ImageDataGenerator: one number for all channels, clipped to the image's own range."""
    values = {1.0: [20, 90, 100], 0.0: [40, 80, 130], 0.5: [20, 80, 120]}[draw]
    image = ramp([*values, *[120] * 5]) if draw else ramp([*values, *[20] * 5])
    result = augmented(Augmentation(channel_shift_range=20), draws(SHIFT=draw), image)
    np.testing.assert_array_equal(result[0, :3, 0], expected)


def test_augment_color_depends_only_on_id_view_and_seed() -> None:
    image, ids = np.stack([colors(RED, YELLOW)] * 3), tf.constant(["a", "b", "a"])
    augmentation = Augmentation(hue_range=0.2, saturation_range="0.5:1", channel_shift_range=30)
    first, other, again = augment(tf.constant(image), draw_parameters(ids, tf.constant(1), 7), augmentation).numpy()
    np.testing.assert_array_equal(first, again)
    assert np.abs(first.astype(int) - other).max() > 5


def test_augment_rgb_image_moves_all_channels_alike() -> None:
    stacked = np.concatenate([waves(), 255 - waves(), waves()[::-1]], axis=-1)
    values = np.random.default_rng(3).random((1, DRAWS), dtype=np.float32)
    result = augmented(EVERYTHING, values, stacked)
    for channel in range(3):
        alone = augmented(EVERYTHING, values, stacked[..., channel : channel + 1])
        np.testing.assert_array_equal(result[..., channel : channel + 1], alone)
