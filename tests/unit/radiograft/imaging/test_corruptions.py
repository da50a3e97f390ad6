"""Corruptions of MedMNIST-C: literal values, and laws that hold for all of them."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from radiograft.imaging.corruption_sets import CORRUPTIONS, SEVERITIES, Strength
from radiograft.imaging.corruptions import corrupt

ALL = [(name, corruption) for name, parameters in CORRUPTIONS.items() for corruption in parameters]
IMAGES = arrays.arrays(np.uint8, st.tuples(st.integers(16, 40), st.integers(16, 40), st.sampled_from([1, 3])))
UNCHANGED = {  # the parameter of each corruption that leaves the image as it is
    "pixelate": 1.0,
    "gaussian_noise": 0.0,
    "speckle_noise": 0.0,
    "impulse_noise": 0.0,
    "gaussian_blur": 1,
    "defocus_blur": (0, 0.01),
    "motion_blur": (0, 1),
    "zoom_blur": (1.0, 0.1),
    "saturate": 0.0,
    "brightness_up": 1.0,
    "brightness_down": 1.0,
    "contrast_up": 1.0,
    "contrast_down": 1.0,
    "gamma_corr_up": 1.0,
    "gamma_corr_down": 1.0,
}


def radiograph(size: int = 96) -> np.ndarray:
    """A smooth image with edges and fine texture, uint8 [size, size, 1]."""
    y, x = np.mgrid[:size, :size] / size
    smooth = 90 + 60 * np.sin(4 * x) * np.cos(3 * y)
    texture = 12 * np.sin(40 * x + 31 * y) + 30 * ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.06)
    return np.clip(smooth + texture, 0, 255).astype(np.uint8)[..., np.newaxis]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_every_parameter_has_five_severities(name: str) -> None:
    assert {len(parameters) for parameters in CORRUPTIONS[name].values()} == {len(SEVERITIES)}


@pytest.mark.parametrize(("corruption", "parameter"), UNCHANGED.items())
@given(image=IMAGES)
@settings(max_examples=20, deadline=None)
def test_corrupt_neutral_parameter_returns_image(corruption: str, parameter: Strength, image: np.ndarray) -> None:
    assert np.array_equal(corrupt(image, corruption, parameter, "a"), image)


@pytest.mark.parametrize(("name", "corruption"), ALL)
@given(image=IMAGES, severity=st.sampled_from(SEVERITIES), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_corrupt_any_image_keeps_shape_and_depends_on_seed_and_key(
    name: str, corruption: str, image: np.ndarray, severity: int, seed: int
) -> None:
    before, parameter = image.copy(), CORRUPTIONS[name][corruption][severity - 1]
    corrupted = corrupt(image, corruption, parameter, "a.png", seed)
    assert (corrupted.dtype, corrupted.shape) == (np.uint8, image.shape)
    assert np.array_equal(corrupted, corrupt(image, corruption, parameter, "a.png", seed))
    assert np.array_equal(image, before)


@pytest.mark.parametrize(("name", "corruption"), [pair for pair in ALL if pair[1] != "black_corner"])
def test_corrupt_higher_severity_is_further_from_image(name: str, corruption: str) -> None:
    image = np.concatenate([radiograph(), radiograph() // 2, radiograph() // 3], axis=2)
    distances = [
        float(np.abs(corrupt(image, corruption, parameter, "a.png").astype(int) - image).mean())
        for parameter in CORRUPTIONS[name][corruption]
    ]
    assert distances[0] > 0
    assert distances == sorted(distances)


@pytest.mark.parametrize("corruption", ["gaussian_noise", "speckle_noise", "impulse_noise", "shot_noise"])
def test_corrupt_noise_differs_between_images_and_seeds(corruption: str) -> None:
    image, parameter = radiograph(), CORRUPTIONS["chestmnist"][corruption][4]
    noisy = corrupt(image, corruption, parameter, "a.png")
    assert not np.array_equal(noisy, corrupt(image, corruption, parameter, "b.png"))
    assert not np.array_equal(noisy, corrupt(image, corruption, parameter, "a.png", seed=1))


def test_corrupt_gaussian_noise_has_given_deviation() -> None:
    noisy = corrupt(np.full((256, 256, 1), 128, np.uint8), "gaussian_noise", 0.08, "a.png")
    assert abs(noisy.std() / 255 - 0.08) < 0.001


def test_corrupt_shot_noise_has_deviation_of_counted_photons() -> None:
    noisy = corrupt(np.full((256, 256, 1), 128, np.uint8), "shot_noise", 60, "a.png")
    assert abs(noisy.std() / 255 - (128 / 255 / 60) ** 0.5) < 0.002


def test_corrupt_impulse_noise_replaces_given_share_by_black_and_white() -> None:
    noisy = corrupt(np.full((256, 256, 1), 128, np.uint8), "impulse_noise", 0.17, "a.png")
    assert set(np.unique(noisy)) == {0, 128, 255}
    assert abs((noisy == 0).mean() - 0.085) < 0.004
    assert abs((noisy == 255).mean() - 0.085) < 0.004


@pytest.mark.parametrize(
    ("corruption", "parameter", "expected"),
    [
        ("gamma_corr_up", 1.6, [0, 28, 84, 162, 255]),  # 255.999 (v / 255)^1.6, cut off
        ("gamma_corr_down", 0.4, [0, 147, 194, 228, 255]),
        ("brightness_up", 1.5, [0, 96, 192, 255, 255]),
        ("brightness_down", 0.5, [0, 32, 64, 96, 127]),
        ("contrast_down", 0.4, [76, 102, 128, 153, 178]),  # about the mean of 127.8, which Pillow rounds to 128
    ],
)
def test_corrupt_gray_levels_are_mapped_as_by_pillow_and_torchvision(
    corruption: str, parameter: float, expected: list[int]
) -> None:
    image = np.array([[0, 64, 128, 192, 255]], np.uint8)[..., np.newaxis]
    assert corrupt(image, corruption, parameter, "a.png").ravel().tolist() == expected


def test_corrupt_gaussian_blur_has_torchvision_kernel() -> None:
    """A kernel of 3 has the standard deviation 0.8; its weights are 0.239, 0.522 and 0.239."""
    image = np.zeros((5, 5, 1), np.uint8)
    image[2, 2] = 255
    assert corrupt(image, "gaussian_blur", 3, "a.png")[1:4, 1:4, 0].tolist() == [
        [15, 32, 15],
        [32, 69, 32],
        [15, 32, 15],
    ]


def test_corrupt_defocus_blur_averages_over_a_disk() -> None:
    """A disk of radius 1 has five pixels, so that each has a fifth of 255."""
    image = np.zeros((19, 19, 1), np.uint8)
    image[9, 9] = 255
    blurred = corrupt(image, "defocus_blur", (1, 0.01), "a.png")
    assert blurred[8:11, 8:11, 0].tolist() == [[0, 51, 0], [51, 51, 51], [0, 51, 0]]
    assert int(blurred.sum()) == 5 * 51


def test_corrupt_motion_blur_spreads_a_point_along_a_line() -> None:
    """Nine pixels in line with the point, the weights of half a Gaussian, at most 45 degrees from horizontal."""
    image = np.zeros((41, 41, 1), np.uint8)
    image[20, 20] = 255
    blurred = corrupt(image, "motion_blur", (4, 3), "a.png")[..., 0]
    rows, columns = np.nonzero(blurred)
    assert sorted(blurred[rows, columns].tolist(), reverse=True) == [60, 56, 48, 36, 24, 14, 8, 3, 1]
    assert columns.max() == 20  # on one side
    assert np.ptp(columns) >= np.ptp(rows)


def test_corrupt_zoom_blur_keeps_the_center_and_moves_the_rest_outward() -> None:
    image = np.zeros((64, 64, 1), np.uint8)
    image[32, 48] = 255
    blurred = corrupt(image, "zoom_blur", (1.31, 0.03), "a.png")[..., 0]
    columns = np.nonzero(blurred.sum(axis=0))[0]
    assert (columns.min() >= 47, columns.max() > 50) == (True, True)


@given(image=arrays.arrays(np.uint8, (4, 4, 3)), amount=st.floats(0.0, 0.5))
@settings(max_examples=50, deadline=None)
def test_corrupt_saturate_adds_to_saturation_and_keeps_hue_and_value(image: np.ndarray, amount: float) -> None:
    saturated = corrupt(image, "saturate", amount, "a")
    for changed, pixel in zip(saturated.reshape(-1, 3), image.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*pixel / 255)
        expected = np.multiply(colorsys.hsv_to_rgb(hue, min(saturation + amount, 1), value), 255)
        assert np.abs(changed - expected).max() <= 1 + 1e-6


def test_corrupt_black_corner_keeps_a_disk() -> None:
    changed = corrupt(np.full((101, 101, 3), 200, np.uint8), "black_corner", 1.0, "a.png")
    assert changed[50, 0].tolist() == changed[0, 50].tolist() == [200, 200, 200]
    assert changed[5, 5].tolist() == [0, 0, 0]
    assert (changed[..., 0] > 0).mean() == pytest.approx(np.pi * 50**2 / 101**2, abs=0.005)


def test_corrupt_stains_darken_bubbles_brighten_and_letters_change_few_pixels() -> None:
    image = np.full((224, 224, 3), 128, np.uint8)
    stained, bubbles, letters = (
        corrupt(image, name, CORRUPTIONS[of][name][4], "a.png").astype(int)
        for of, name in (("pathmnist", "stain_deposit"), ("pathmnist", "bubble"), ("dermamnist", "characters"))
    )
    assert (stained.min(), stained.max()) == (0, 128)
    assert (bubbles.min(), bubbles.max()) == (128, 193)  # 128 + (255 - 128) * 130 / 255
    assert 0 < (letters != 128).any(axis=2).mean() < 0.02


def test_corrupt_pixelate_averages_blocks() -> None:
    image = np.array([[0, 100, 10, 30], [100, 200, 10, 30]], np.uint8)[..., np.newaxis]
    assert corrupt(image, "pixelate", 0.5, "a.png")[..., 0].tolist() == [[100, 100, 20, 20], [100, 100, 20, 20]]


@pytest.mark.parametrize(
    "image", [np.zeros((8, 8, 1), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)]
)
def test_corrupt_other_dtype_or_shape_raises(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"image must be uint8 \[height, width, 1 or 3\]"):
        corrupt(image, "pixelate", 0.5, "a.png")


def test_corrupt_unknown_corruption_raises() -> None:
    with pytest.raises(ValueError, match=r"corruption must be one of pixelate, .*got 'fog'"):
        corrupt(radiograph(), "fog", 1.0, "a.png")
