"""The specification of a backbone: how to build it, normalize its input, cut it and tap it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the settings list the backbones, and stages without TensorFlow read the settings
    import keras


@dataclasses.dataclass(frozen=True)
class Normalization:
    """What a network expects of its input.

    Attributes:
        mean: of each channel on the 0..1 scale, in the network's order.
        std: standard deviation of each channel on the 0..1 scale, in the network's order.
        channels: the network's order of channels.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: tuple[str, str, str] = ("red", "green", "blue")


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = Normalization(  # 0..255 less the mean, without scaling
    (103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255, 1 / 255, 1 / 255), ("blue", "green", "red")
)
MINUS_ONE_TO_ONE = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@dataclasses.dataclass(frozen=True)
class TorchWeights:
    """How torchvision's weights fit a network.

    Attributes:
        names: each layer that has weights, with its prefix in the state dict.
        normalization: what these weights expect of the input.
    """

    names: tuple[tuple[str, str], ...]
    normalization: Normalization


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """A pretrained network without its classifier.

    Attributes:
        name: value of the setting `model_backbone`.
        build: constructor with the arguments of `keras.applications`: include_top, weights, input_tensor, input_shape.
        normalization: what the pretrained weights expect of the input.
        cut_offs: layers from which fine-tuning can start, from the input to the output; `model_cut_off=auto` tries the
            last of them. If a block has parallel branches, its cut-off is the layer that all of them read.
        default_cut_off: the last of them; the last convolution, or the start of the last block with parallel branches.
        taps: last layer of each block, from the input to the output, and the backbone's last layer. Linear probes and
            `model_feature_layer` use their outputs.
        min_size: smallest side of the input, in pixels.
        stride: the side of the input must be a multiple of it, in pixels.
        weights_help: how to get the ImageNet weights on a machine without internet.
        torchvision: how torchvision's weights fit; None if torchvision has no such network or another one.
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
    torchvision: TorchWeights | None = None

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


def keras_file_help(file: str, md5: str = "") -> str:
    """Returns `weights_help` for a file that Keras downloads.

    Args:
        file: name of the file without the classifier.
        md5: its MD5; empty if Keras does not publish it.
    """
    checksum = f" with model_weights_md5={md5}" if md5 else ""
    return (
        f"download {file} from Keras's storage on a machine with internet and give its path or gs:// URI as "
        f"model_weights{checksum}, or choose model_weights=none"
    )


def torch_file_help(file: str) -> str:
    """Returns `weights_help` for a network whose ImageNet weights are only in this file of torchvision."""
    return f"give the path or URI of torchvision's file {file} as model_weights, or choose model_weights=none"
