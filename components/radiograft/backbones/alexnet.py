"""AlexNet as torchvision builds it (Krizhevsky 2014, arXiv 1404.5997: one column), without its dense layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radiograft.backbones.inputs import check_without_weights, image_and_inputs
from radiograft.backbones.spec import IMAGENET, BackboneSpec, WeightLayout, torch_file_help

if TYPE_CHECKING:
    import keras

_MIN_SIZE = 64


def alexnet(
    *,
    include_top: bool = False,
    weights: None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Builds AlexNet's convolutions.

    Args:
        include_top: must be False.
        weights: must be None; the weights are random.
        input_tensor: a Keras tensor to build on.
        input_shape: (height, width, channels), of at least 64 px or None for any size. Default (None, None, 3).

    Returns:
        A model from float32 (batch, height, width, channels) to the last pooling, (batch, 6, 6, 256) for 224 px.

    Raises:
        ValueError: an argument is out of range.
    """
    import keras
    from keras import layers

    check_without_weights("alexnet", include_top=include_top, weights=weights)
    x, inputs = image_and_inputs(input_tensor, input_shape, _MIN_SIZE)
    x = layers.ZeroPadding2D(2, name="conv1_pad")(x)
    x = layers.Conv2D(64, 11, strides=4, activation="relu", kernel_initializer="he_normal", name="conv1")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = _convolution(x, 192, 5, "conv2")
    x = layers.MaxPooling2D(3, strides=2, name="pool2")(x)
    for number, filters in ((3, 384), (4, 256), (5, 256)):
        x = _convolution(x, filters, 3, f"conv{number}")
    x = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    return keras.Model(inputs, x, name="alexnet")


def _convolution(x: keras.KerasTensor, filters: int, kernel: int, name: str) -> keras.KerasTensor:
    from keras import layers

    return layers.Conv2D(filters, kernel, padding="same", activation="relu", kernel_initializer="he_normal", name=name)(
        x
    )


_TORCH_NAMES = tuple((f"conv{n}", f"features.{index}") for n, index in enumerate((0, 3, 6, 8, 10), start=1))

BACKBONES = (
    BackboneSpec(
        name="alexnet",
        build=alexnet,
        normalization=IMAGENET,
        cut_offs=("conv1", "conv2", "conv3", "conv4", "conv5"),
        default_cut_off="conv5",
        taps=("pool1", "pool2", "conv3", "conv4", "pool5"),
        min_size=_MIN_SIZE,
        stride=16,
        weights_help=torch_file_help("alexnet-owt-7be5be79.pth"),
        layouts=(WeightLayout("torchvision", _TORCH_NAMES, IMAGENET),),
    ),
)
