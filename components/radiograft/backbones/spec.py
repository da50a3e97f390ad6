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

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: tuple[str, ...] = ("red", "green", "blue")

    def for_channels(self, count: int) -> Normalization:
        """Returns the normalization for a network that reads 1 (gray) or 3 (RGB) channels.

        Raises:
            ValueError: it differs between the channels, so that it has no equivalent.

        Example:
            >>> MINUS_ONE_TO_ONE.for_channels(1)
            Normalization(mean=(0.5,), std=(0.5,), channels=('gray',))
        """
        if count == len(self.channels):
            return self
        if len(set(self.mean)) > 1 or len(set(self.std)) > 1:
            raise ValueError(
                f"model_normalization must be one for {count} channel{'s' * (count > 1)}, as the network's first layer "
                f"reads, got one for {', '.join(self.channels)}"
            )
        channels = GRAY if count == 1 else ("red", "green", "blue")
        return Normalization(self.mean[:1] * count, self.std[:1] * count, channels)

    def describe(self) -> str:
        """Returns the normalization for people: its name, if it has one, and the calculation.

        Example:
            >>> TORCHXRAYVISION.describe()
            'torchxrayvision: gray, x / 255 less 0.5, divided by 0.000488281 (-1024 to 1024)'
        """
        name = next((f"{name}: " for name, known in NORMALIZATIONS.items() if known == self), "")
        mean, std = (", ".join(f"{value:.6g}" for value in dict.fromkeys(values)) for values in (self.mean, self.std))
        low = min((0 - m) / s for m, s in zip(self.mean, self.std, strict=True))
        high = max((1 - m) / s for m, s in zip(self.mean, self.std, strict=True))
        return f"{name}{', '.join(self.channels)}, x / 255 less {mean}, divided by {std} ({low:.4g} to {high:.4g})"


GRAY = ("gray",)
IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = Normalization(  # 0..255 less the mean, without scaling
    (103.939 / 255, 116.779 / 255, 123.68 / 255), (1 / 255, 1 / 255, 1 / 255), ("blue", "green", "red")
)
MINUS_ONE_TO_ONE = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
ZERO_TO_ONE = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
TORCHXRAYVISION = Normalization((0.5,), (1 / 2048,), GRAY)  # x / 255 * 2048 - 1024, on one channel
# Values of the setting `model_normalization`, besides `auto`.
NORMALIZATIONS = {
    "imagenet": IMAGENET,
    "caffe": CAFFE,
    "minus_one_to_one": MINUS_ONE_TO_ONE,
    "zero_to_one": ZERO_TO_ONE,
    "torchxrayvision": TORCHXRAYVISION,
}


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """How weight files of one origin fit a network, beside Keras's own.

    Attributes:
        family: the origin, such as `torchvision`.
        names: each layer that has weights, with its prefix in the file.
        normalization: what these weights expect of the input.
        order: order of axes and names of tensors: `torch`, `keras` or `tflite`, see `radiograft.storage.weight_files`.
        build: constructor of the network of this origin, if it differs from the backbone's.
        marker: a layer that only this constructor's network has; Keras files with it are of this network.
        has_biases: whether the convolutions have biases in the file where they have them in Keras.
    """

    family: str
    names: tuple[tuple[str, str], ...]
    normalization: Normalization
    order: str = "torch"
    build: Callable[..., keras.Model] | None = None
    marker: str = ""
    has_biases: bool = True


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
        layouts: how weight files of other origins than Keras fit.
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
    layouts: tuple[WeightLayout, ...] = ()

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
