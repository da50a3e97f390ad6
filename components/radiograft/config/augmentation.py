"""Random transformations of training images: their ranges and presets."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import Scalar, Settings, setting

MAX_FACTOR = 255.0  # maps the darkest non-black gray level to white


# The poster names ImageDataGenerator but no values. These are moderate enough for an upright chest radiograph.
AUGMENTATIONS: dict[str, dict[str, Scalar]] = {
    "poster": {
        "rotation_range": 10.0,
        "width_shift_range": 0.1,
        "height_shift_range": 0.1,
        "zoom_range": 0.1,
    },
    "chexnet": {"horizontal_flip": True},  # Rajpurkar et al. 2017
    # Cubuk et al. 2020: number and strength are all there is to choose. Ranges as in RandAugment, as far as they suit
    # gray radiographs.
    "rand_augment": {
        "rotation_range": 30.0,
        "width_shift_range": 0.3,
        "height_shift_range": 0.3,
        "shear_range": 17.0,
        "zoom_range": 0.3,
        "brightness_range": "0.5:1.5",
        "contrast_range": "0.5:1.5",
        "operations": 2,
        "strength": 0.5,
    },
    "none": {},
}


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings):
    """Ranges of the random transformations applied to training images, sampled uniformly for each augmented copy.

    Names and meanings are those of `ImageDataGenerator`. `contrast_range`, `hue_range`, `saturation_range`,
    `operations` and `strength` are additions.
    """

    rotation_range: float = setting(0.0, "Maximum rotation in either direction.", unit="degrees", low=0, high=180)
    width_shift_range: float = setting(0.0, "Maximum horizontal shift, as a fraction of the width.", low=0, high=0.9)
    height_shift_range: float = setting(0.0, "Maximum vertical shift, as a fraction of the height.", low=0, high=0.9)
    shear_range: float = setting(0.0, "Maximum shear in either direction.", unit="degrees", low=0, high=60)
    zoom_range: float = setting(0.0, "Zoom factor from 1 - z to 1 + z, sampled for each axis.", low=0, high=0.9)
    brightness_range: str = setting("1:1", "Range low:high of the brightness factor.")
    contrast_range: str = setting("1:1", "Range low:high of the contrast factor, applied about the image mean.")
    channel_shift_range: float = setting(
        0.0,
        "Maximum number that is added to, or subtracted from, all channels; the result stays in the image's own range.",
        unit="of 255",
        low=0,
        high=255,
    )
    hue_range: float = setting(
        0.0, "Maximum change of the hue in either direction; RGB only.", unit="of the color circle", low=0, high=0.5
    )
    saturation_range: str = setting("1:1", "Range low:high of the factor of the saturation; RGB only.")
    horizontal_flip: bool = setting(
        False, "Flip horizontally with probability 0.5; this moves the heart to the other side."
    )
    vertical_flip: bool = setting(False, "Flip vertically with probability 0.5.")
    fill_mode: str = setting(
        "nearest", "How points outside the image are filled.", choices=("nearest", "constant", "reflect", "wrap")
    )
    cval: float = setting(0.0, "Gray value outside the image if fill_mode=constant.", low=0, high=255)
    operations: int = setting(
        0,
        "Number of transformations with a range that each augmented copy gets, drawn at random as by RandAugment; 0 "
        "applies all. Flips do not count.",
        low=0,
        high=10,
    )
    strength: float = setting(1.0, "Fraction of each range that is used, flips excepted.", low=0, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factors("brightness_range")
        self.factors("contrast_range")
        self.factors("saturation_range")

    @property
    def changes_color(self) -> bool:
        """Whether hue or saturation change, which gray images do not have."""
        return self.hue_range > 0 or self.factors("saturation_range") != (1, 1)

    def check_channels(self, channels: int) -> None:
        """Checks that images with this number of channels have what is to be augmented.

        Raises:
            ValueError: hue or saturation are to change, and the images are gray.
        """
        if channels == 1 and self.changes_color:
            raise ValueError(
                "image_augmentation must not have hue_range or saturation_range for gray images, which have neither, "
                f"got hue_range={self.hue_range:g},saturation_range={self.saturation_range}: set image_channels=rgb or "
                "remove them"
            )

    def factors(self, name: str) -> tuple[float, float]:
        """Returns the lowest and highest factor of `brightness_range`, `contrast_range` or `saturation_range`."""
        text = getattr(self, name)
        try:
            low, high = (float(part) for part in text.split(":"))
        except ValueError:
            low, high = 0.0, -1.0
        if not 0 < low <= high <= MAX_FACTOR:
            raise ValueError(f"{name} must be low:high with 0 < low <= high <= {MAX_FACTOR:g}, got {text!r}")
        return low, high
