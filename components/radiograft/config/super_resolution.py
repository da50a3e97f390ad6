"""Settings of super-resolution, the experimental pipeline that trains a network to enlarge images."""

from __future__ import annotations

import dataclasses

from radiograft.config.base import SeedSettings, setting

SCALES = (2, 4)


@dataclasses.dataclass(frozen=True)
class SuperResolution(SeedSettings):
    """Settings of the generator and its training. `image_size` is the size after enlarging."""

    model_scale: int = setting(2, "How much super-resolution enlarges the sides of an image: 2 or 4.", low=2, high=4)
    model_generator_filters: int = setting(
        32, "Channels of the generator's residual blocks.", unit="channels", low=4, high=512
    )
    model_generator_blocks: int = setting(4, "Residual blocks of the generator.", unit="blocks", low=1, high=64)
    train_generator_crop: int = setting(
        32, "Side of the crops that super-resolution trains on, before enlarging.", unit="pixels", low=8, high=256
    )
    train_generator_learning_rate: float = setting(
        5e-4, "Initial learning rate of super-resolution; it falls to zero as a cosine.", low=1e-8, high=1.0
    )
    train_generator_ema: float = setting(
        0.99, "Momentum of the moving average of the generator's weights, which is published.", low=0.0, high=0.99999
    )
    train_pixel_steps: int = setting(
        2000, "Training steps of super-resolution with the pixel loss alone.", unit="steps", low=1, high=10_000_000
    )
    train_adversarial_steps: int = setting(
        0, "Steps after them that add the adversarial and feature losses; 0 adds none.", low=0, high=10_000_000
    )
    train_adversarial_weight: float = setting(
        0.005, "Weight of the relativistic adversarial loss beside the pixel loss.", low=0.0, high=100.0
    )
    train_feature_weight: float = setting(
        0.01, "Weight of the distance in features of `model_backbone` beside the pixel loss.", low=0.0, high=100.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model_scale not in SCALES:
            raise ValueError(f"model_scale must be 2 or 4, got {self.model_scale}")

    @property
    def steps(self) -> int:
        """Number of all training steps."""
        return self.train_pixel_steps + self.train_adversarial_steps

    @property
    def crop_size(self) -> int:
        """Side of the crops in pixels of the large image."""
        return self.train_generator_crop * self.model_scale
