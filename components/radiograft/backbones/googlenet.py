"""GoogLeNet (Szegedy et al. 2015) as torchvision builds it, without its classifiers.

It has batch normalization, and 3x3 convolutions where the article has 5x5. torchvision's ImageNet weights expect -1..1
(its `transform_input`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from radiograft.backbones.inputs import check_without_weights, image_and_inputs
from radiograft.backbones.spec import MINUS_ONE_TO_ONE, BackboneSpec, WeightLayout, torch_file_help

if TYPE_CHECKING:
    import keras

_MIN_SIZE = 32
# Filters of each inception block: 1x1; 3x3 and its reduction; the second 3x3 and its reduction; after the pooling.
_INCEPTIONS = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}
_POOLINGS = {"3b": 3, "4e": 2}  # size of the pooling after a block
_BRANCHES = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")  # torchvision's names


def googlenet(
    *,
    include_top: bool = False,
    weights: None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Builds GoogLeNet up to the last inception block.

    torchvision rounds the size up after poolings; for multiples of 32 px, `same` padding does so too.

    Args:
        include_top: must be False.
        weights: must be None; the weights are random.
        input_tensor: a Keras tensor to build on.
        input_shape: (height, width, channels), of at least 32 px or None for any size. Default (None, None, 3).

    Returns:
        A model from float32 (batch, height, width, channels) to (batch, height / 32, width / 32, 1024).

    Raises:
        ValueError: an argument is out of range.
    """
    import keras
    from keras import layers

    check_without_weights("googlenet", include_top=include_top, weights=weights)
    x, inputs = image_and_inputs(input_tensor, input_shape, _MIN_SIZE)
    x = layers.ZeroPadding2D(3, name="conv1_pad")(x)  # "same" would pad one pixel less above and left
    x = _convolution(x, 64, 7, "conv1", strides=2, padding="valid")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    x = _convolution(x, 64, 1, "conv2")
    x = _convolution(x, 192, 3, "conv3")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool2")(x)
    for block, filters in _INCEPTIONS.items():
        x = _inception(x, filters, f"inception{block}")
        if size := _POOLINGS.get(block):
            x = layers.MaxPooling2D(size, strides=2, padding="same", name=f"pool{block[0]}")(x)
    return keras.Model(inputs, x, name="googlenet")


def _convolution(
    x: keras.KerasTensor, filters: int, kernel: int, name: str, *, strides: int = 1, padding: str = "same"
) -> keras.KerasTensor:
    from keras import layers

    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding=padding,
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _inception(x: keras.KerasTensor, filters: tuple[int, ...], name: str) -> keras.KerasTensor:
    from keras import layers

    names = [f"{name}_{branch.replace('.', '_')}" for branch in _BRANCHES]
    first = _convolution(x, filters[0], 1, names[0])
    second = _convolution(_convolution(x, filters[1], 1, names[1]), filters[2], 3, names[2])
    third = _convolution(_convolution(x, filters[3], 1, names[3]), filters[4], 3, names[4])
    pooled = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_branch4_pool")(x)
    fourth = _convolution(pooled, filters[5], 1, names[5])
    return layers.Concatenate(name=name)([first, second, third, fourth])


def _torch_names() -> Iterator[tuple[str, str]]:
    units = ["conv1", "conv2", "conv3"]
    units += [f"inception{block}.{branch}" for block in _INCEPTIONS for branch in _BRANCHES]
    for unit in units:
        for part in ("conv", "bn"):
            yield f"{unit.replace('.', '_')}_{part}", f"{unit}.{part}"


_STARTS = ("pool2", "inception3a", "pool3", "inception4a", "inception4b", "inception4c", "inception4d", "pool4")

BACKBONES = (
    BackboneSpec(
        name="googlenet",
        build=googlenet,
        normalization=MINUS_ONE_TO_ONE,
        cut_offs=("conv1_conv", "conv2_conv", "conv3_conv", *_STARTS, "inception5a"),
        default_cut_off="inception5a",
        taps=("pool1", "pool2", *(f"inception{block}" for block in _INCEPTIONS)),
        min_size=_MIN_SIZE,
        stride=32,
        weights_help=torch_file_help("googlenet-1378be20.pth"),
        layouts=(WeightLayout("torchvision", tuple(_torch_names()), MINUS_ONE_TO_ONE),),
    ),
)
