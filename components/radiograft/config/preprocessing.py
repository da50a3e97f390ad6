"""Settings of the images: size, shape, gray values and augmentation."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import AUTO, Scalar, Settings, setting
from radiograft.config.data_policy import DataPolicySettings

STRETCH, PAD = "stretch", "pad"
CHANNELS = {"gray": 1, "rgb": 3}
MAX_GRAY = 2**16 - 1
SIZE_STEP = 16  # pixels; the thumbnails of the data checks average whole cells; backbones may ask for more
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
    "none": {},
}


@dataclasses.dataclass(frozen=True)
class Augmentation(Settings):
    """Ranges of the random transformations applied to training images, sampled uniformly for each augmented copy.

    Names and meanings are those of `ImageDataGenerator`. `contrast_range`, `hue_range` and `saturation_range` are
    additions.
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


@dataclasses.dataclass(frozen=True)
class Preprocess(DataPolicySettings):
    """Settings of the preprocess stage: image size, augmentation and number of workers."""

    image_size: int = setting(
        224, "Width and height of the images that the network sees.", unit="pixels", low=32, high=1024
    )
    image_resize: str = setting(
        STRETCH,
        "How an image becomes square: `stretch` ignores its aspect ratio, as the poster; `pad` keeps it and adds black "
        "borders. The model records it.",
        choices=(STRETCH, PAD),
    )
    image_channels: str = setting(
        AUTO,
        "Whether images are stored and trained in gray, with one channel, or in color, with three. `auto` chooses rgb "
        "if more than half of a sample of the images are in color. The model records it.",
        choices=(AUTO, *CHANNELS),
    )
    image_gray_range: str = setting(
        AUTO,
        "Gray values of 16-bit PNG and TIFF images that become black and white, such as 0:4095. `auto` finds the bits "
        "that the dataset uses. One range for all images, which the model records. DICOM files have their own windows.",
    )
    image_reduced_jpeg: bool = setting(
        False,
        "Whether JPEGs whose sides are at least four times those of the stored images are decoded at a half, a quarter "
        "or an eighth of their size, which takes less time and changes the pixels a little. The model records it.",
    )
    image_augmentation: str = setting(
        "poster",
        "`poster`, `chexnet`, `none`, or arguments of ImageDataGenerator such as rotation_range=10,zoom_range=0.1",
    )
    preprocess_workers: int = setting(
        1,
        "Number of pods that decode the images; it does not affect the result.",
        unit="pods",
        low=1,
        high=64,
    )
    image_crop_size: int = setting(
        0,
        "Width and height at which images are stored for model_branches=attention_guided, which cuts its crop from "
        "them and shrinks them to image_size for the global branch; 0 stores them at image_size.",
        unit="pixels",
        low=0,
        high=1024,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % SIZE_STEP:
            raise ValueError(f"image_size must be a multiple of {SIZE_STEP}, got {self.image_size}")
        if self.image_crop_size and (self.image_crop_size % SIZE_STEP or self.image_crop_size < self.image_size):
            raise ValueError(
                f"image_crop_size must be 0, or a multiple of {SIZE_STEP} from image_size ({self.image_size}) on, got "
                f"{self.image_crop_size}"
            )
        self.gray_range()
        if self.channels() != CHANNELS["gray"]:
            self.augmentation()
        else:
            self.augmentation().check_channels(CHANNELS["gray"])

    @property
    def stored_size(self) -> int:
        """Width and height of the stored images in pixels."""
        return self.image_crop_size or self.image_size

    def gray_range(self) -> tuple[int, int] | None:
        """Returns the parsed `image_gray_range`; None for `auto`."""
        if self.image_gray_range == AUTO:
            return None
        low, _, high = self.image_gray_range.partition(":")
        if not (low.isdecimal() and high.isdecimal() and int(low) < int(high) <= MAX_GRAY):
            raise ValueError(
                f"image_gray_range must be auto or low:high with 0 <= low < high <= {MAX_GRAY}, "
                f"got {self.image_gray_range!r}"
            )
        return int(low), int(high)

    def channels(self) -> int | None:
        """Returns 1 or 3 as `image_channels` says; None for `auto`."""
        return CHANNELS.get(self.image_channels)

    def augmentation(self) -> Augmentation:
        """Returns the parsed `image_augmentation`."""
        return Augmentation.parse("image_augmentation", self.image_augmentation, AUGMENTATIONS)
