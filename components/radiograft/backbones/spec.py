"""The specification of a backbone: how to build it, normalize its input, cut it and tap it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the settings list the backbones, and stages without TensorFlow read the settings
    import keras


@dataclasses.dataclass(frozen=True)
class Normalization:
    """Channel means and standard deviations on the 0..1 scale, in the order red, green, blue."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """A pretrained network without its classifier.

    Attributes:
        name: value of the setting `model_backbone`.
        build: constructor with the arguments of `keras.applications`: include_top, weights, input_tensor, input_shape.
        normalization: what the pretrained weights expect of the input.
        cut_offs: layers from which fine-tuning can start, from the input to the output; `model_cut_off=auto` tries the
            last of them.
        default_cut_off: one of them; the last convolution.
        taps: last layer of each block, from the input to the output, and the backbone's last layer. Linear probes and
            `model_feature_layer` use their outputs.
        min_size: smallest side of the input, in pixels.
        stride: the side of the input must be a multiple of it, in pixels.
        weights_help: how to get the ImageNet weights on a machine without internet.
    """

    name: str
    build: Callable[..., keras.Model]
    normalization: Normalization
    cut_offs: tuple[str, ...]
    default_cut_off: str
    taps: tuple[str, ...]
    min_size: int
    stride: int
    weights_help: str

    def check_image_size(self, size: int) -> None:
        """Raises an error if the network cannot take images of this side.

        Raises:
            ValueError: the side is below `min_size` or not a multiple of `stride`.
        """
        if size < self.min_size or size % self.stride:
            raise ValueError(
                f"image_size must be a multiple of {self.stride} and at least {self.min_size} for {self.name}, "
                f"got {size}"
            )
