"""Settings of the preprocess stage: size and shape of the images, gray values and augmentation."""

from __future__ import annotations

import dataclasses

from radiograft.config.augmentation import AUGMENTATIONS, Augmentation
from radiograft.config.base import AUTO, setting
from radiograft.config.data_policy import DataPolicySettings

STRETCH, PAD = "stretch", "pad"
CHANNELS = {"gray": 1, "rgb": 3}
MAX_GRAY = 2**16 - 1
SIZE_STEP = 16  # pixels; the thumbnails of the data checks average whole cells; backbones may ask for more


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
        "Values of 16-bit PNG and TIFF images that become black and white, such as 0:4095. `auto` finds the bits "
        "that the dataset uses. One range for all images, which the model records. DICOM files have their own windows.",
    )
    image_reduced_jpeg: bool = setting(
        False,
        "Whether JPEGs whose sides are at least four times those of the stored images are decoded at a half, a quarter "
        "or an eighth of their size, which takes less time and changes the pixels a little. The model records it.",
    )
    image_super_resolution: str = setting(
        "",
        "Published generator, REGISTRY/NAME/N, that enlarges images to the size at which they are stored "
        "(experimental). The model records it and enlarges images in the same way.",
    )
    image_augmentation: str = setting(
        "poster",
        "`poster`, `chexnet`, `rand_augment`, `none`, or arguments of ImageDataGenerator such as "
        "rotation_range=10,zoom_range=0.1",
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
