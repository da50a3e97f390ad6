"""Augmentation as data: which random changes a training image may undergo, with ImageDataGenerator's names."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import Scalar, Settings, setting

MAX_FACTOR = 255.0  # turns the darkest gray that is not black into white


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings):
    """Ranges from which every view of an image is drawn uniformly; names and meaning are ImageDataGenerator's.

    `contrast_range`, which that lacks, goes the way of its brightness.
    """

    rotation_range: float = setting(0.0, "Rotation by up to this angle either way.", unit="degrees", low=0, high=180)
    width_shift_range: float = setting(0.0, "Shift across, as a fraction of the width.", low=0, high=0.9)
    height_shift_range: float = setting(0.0, "Shift up or down, as a fraction of the height.", low=0, high=0.9)
    shear_range: float = setting(0.0, "Shear by up to this angle either way.", unit="degrees", low=0, high=60)
    zoom_range: float = setting(0.0, "Zoom by a factor from 1 - z to 1 + z, each axis for itself.", low=0, high=0.9)
    brightness_range: str = setting("1:1", "Brightness is multiplied by a factor from low:high.")
    contrast_range: str = setting("1:1", "Distance from the image's mean is multiplied by a factor from low:high.")
    horizontal_flip: bool = setting(False, "Mirror every second image; puts the heart on the other side.")
    vertical_flip: bool = setting(False, "Turn every second image upside down.")
    fill_mode: str = setting(
        "nearest", "What lies beyond the border.", choices=("nearest", "constant", "reflect", "wrap")
    )
    cval: float = setting(0.0, "Gray value beyond the border for fill_mode=constant.", low=0, high=255)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.factors("brightness_range")
        self.factors("contrast_range")

    def factors(self, name: str) -> tuple[float, float]:
        """Lowest and highest factor of `brightness_range` or `contrast_range`."""
        text = getattr(self, name)
        try:
            low, high = (float(part) for part in text.split(":"))
        except ValueError:
            low, high = 0.0, -1.0
        if not 0 < low <= high <= MAX_FACTOR:
            raise ValueError(f"{name} must be low:high with 0 < low <= high <= {MAX_FACTOR:g}, got {text!r}")
        return low, high


# The poster names ImageDataGenerator but no values; these are ours, mild enough for an upright chest film.
PRESETS: dict[str, dict[str, Scalar]] = {
    "poster": {
        "rotation_range": 10.0,
        "width_shift_range": 0.1,
        "height_shift_range": 0.1,
        "zoom_range": 0.1,
    },
    "chexnet": {"horizontal_flip": True},  # Rajpurkar et al. 2017
    "none": {},
}
