"""Parsing and validation of the setting `image_augmentation`."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radiograft.config import Preprocess
from radiograft.config.augmentation import AUGMENTATIONS, Augmentation

PRESETS = "image_augmentation must be one of poster, chexnet, rand_augment, none or name=value,..."


def test_parse_preset_name_returns_preset() -> None:
    assert Augmentation.parse("image_augmentation", "none", AUGMENTATIONS) == Augmentation()
    assert Augmentation.parse("image_augmentation", "poster", AUGMENTATIONS) == Augmentation(
        rotation_range=10.0, width_shift_range=0.1, height_shift_range=0.1, zoom_range=0.1
    )
    assert Augmentation.parse("image_augmentation", "chexnet", AUGMENTATIONS) == Augmentation(horizontal_flip=True)


def test_parse_image_data_generator_arguments_returns_values() -> None:
    text = "rotation_range=7, horizontal_flip=TRUE, fill_mode=constant, cval=12, brightness_range=0.8:1.25"
    augmentation = Augmentation.parse("image_augmentation", text, AUGMENTATIONS)
    assert augmentation == Augmentation(
        rotation_range=7.0, horizontal_flip=True, fill_mode="constant", cval=12.0, brightness_range="0.8:1.25"
    )
    assert augmentation.factors("brightness_range") == (0.8, 1.25)


@given(
    augmentation=st.builds(
        Augmentation,
        rotation_range=st.floats(0, 180),
        shear_range=st.floats(0, 60),
        zoom_range=st.floats(0, 0.9),
        brightness_range=st.floats(0.1, 1).map(lambda low: f"{low}:{1 / low}"),
        contrast_range=st.floats(0.1, 1).map(lambda low: f"{low}:{1 / low}"),
        vertical_flip=st.booleans(),
        fill_mode=st.sampled_from(["nearest", "constant", "reflect", "wrap"]),
    )
)
def test_parse_formatted_augmentation_round_trips(augmentation: Augmentation) -> None:
    text = ",".join(f"{name}={value}" for name, value in dataclasses.asdict(augmentation).items())
    assert Augmentation.parse("image_augmentation", text, AUGMENTATIONS) == augmentation


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "rotation=10",
            "image_augmentation has no 'rotation'; did you mean 'rotation_range' or 'saturation_range'?",
        ),
        (
            "postre",
            (f"{PRESETS}, got 'postre'; did you mean 'poster'?"),
        ),
        ("", f"{PRESETS}, got ''"),
        (
            "zoom_range",
            f"{PRESETS}, got 'zoom_range'",
        ),
        ("rotation_range=181", "rotation_range must be at most 180 degrees, got 181.0"),
        ("zoom_range=-0.1", "zoom_range must be at least 0, got -0.1"),
        ("zoom_range=nan", "zoom_range must be a finite number, got nan"),
        ("zoom_range=much", "image_augmentation's zoom_range must be of type float, got 'much'"),
        ("horizontal_flip=yes", "image_augmentation's horizontal_flip must be of type bool, got 'yes'"),
        (
            "fill_mode=reflct",
            "fill_mode must be one of nearest, constant, reflect, wrap, got 'reflct'; did you mean 'reflect'?",
        ),
        *(
            (
                f"{name}={text}",
                f"{name} must be low:high with 0 < low <= high <= 255, got '{text}'",
            )
            for name in ("brightness_range", "contrast_range")
            for text in ("1.2:0.8", "0:1", "0.8", "a:b", "1:inf", "1:1e300", "nan:1", "0.8:1:1.2")
        ),
    ],
)
def test_preprocess_invalid_augmentation_raises(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011  the whole message is compared
        Preprocess(image_augmentation=text)
    assert str(error.value) == message
