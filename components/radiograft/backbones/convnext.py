"""ConvNeXt-Tiny (Liu et al. 2022) of built-in layers, with the weights of keras.applications.

Keras's network has a layer type of its own, which safe mode does not load, and nested models, which cannot be cut. This
one computes the same, and its layers have the same names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from radiograft.backbones.inputs import image_and_inputs
from radiograft.backbones.spec import IMAGENET, BackboneSpec, keras_file_help

if TYPE_CHECKING:
    import keras

_NAME = "convnext_tiny"
_MIN_SIZE = 32
_STAGES = ((3, 96), (3, 192), (9, 384), (3, 768))  # blocks and channels
_BLOCKS = tuple(f"{_NAME}_stage_{stage}_block_{b}" for stage, (count, _) in enumerate(_STAGES) for b in range(count))


def convnext_tiny(
    *,
    include_top: bool = False,
    weights: str | None = "imagenet",
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int | None, int | None, int] | None = None,
) -> keras.Model:
    """Builds ConvNeXt-Tiny without its classifier.

    Args:
        include_top: must be False.
        weights: "imagenet", which Keras downloads, or None for random ones.
        input_tensor: a Keras tensor to build on.
        input_shape: (height, width, channels), of at least 32 px or None for any size. Default (None, None, 3).

    Returns:
        A model from float32 (batch, height, width, channels) to the last normalization, (batch, height / 32,
        width / 32, 768).

    Raises:
        ValueError: an argument is out of range.
    """
    import keras
    from keras import layers

    if include_top:
        raise ValueError(f"include_top must be False for {_NAME}, got {include_top}")
    x, inputs = image_and_inputs(input_tensor, input_shape, _MIN_SIZE)
    for stage, (blocks, channels) in enumerate(_STAGES):
        x = _downsample(x, stage, channels)
        for block in range(blocks):
            x = _block(x, channels, f"{_NAME}_stage_{stage}_block_{block}")
    x = layers.LayerNormalization(epsilon=1e-6, name="layer_normalization")(x)
    network = keras.Model(inputs, x, name=_NAME)
    if weights is not None:
        original = keras.applications.ConvNeXtTiny(
            include_top=False, weights=weights, input_shape=(224, 224, 3), include_preprocessing=False
        )
        network.set_weights(original.get_weights())
    return network


def _downsample(x: keras.KerasTensor, stage: int, channels: int) -> keras.KerasTensor:
    from keras import layers

    if stage == 0:
        x = layers.Conv2D(channels, 4, strides=4, name=f"{_NAME}_stem_conv")(x)
        return layers.LayerNormalization(epsilon=1e-6, name=f"{_NAME}_stem_layernorm")(x)
    x = layers.LayerNormalization(epsilon=1e-6, name=f"{_NAME}_downsampling_layernorm_{stage - 1}")(x)
    return layers.Conv2D(channels, 2, strides=2, name=f"{_NAME}_downsampling_conv_{stage - 1}")(x)


def _block(inputs: keras.KerasTensor, channels: int, name: str) -> keras.KerasTensor:
    import keras
    from keras import layers

    x = layers.Conv2D(channels, 7, padding="same", groups=channels, name=f"{name}_depthwise_conv")(inputs)
    x = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_layernorm")(x)
    x = layers.Dense(4 * channels, name=f"{name}_pointwise_conv_1")(x)
    x = layers.Activation("gelu", name=f"{name}_gelu")(x)
    x = layers.Dense(channels, name=f"{name}_pointwise_conv_2")(x)
    x = layers.EinsumDense(  # scales each channel, as Keras's LayerScale
        "nhwc,c->nhwc",
        output_shape=(*inputs.shape[1:3], channels),
        kernel_initializer=keras.initializers.Constant(1e-6),
        name=f"{name}_layer_scale",
    )(x)
    return layers.Add(name=f"{name}_add")([inputs, x])


BACKBONES = (
    BackboneSpec(
        name=_NAME,
        build=convnext_tiny,
        normalization=IMAGENET,
        cut_offs=(f"{_NAME}_stem_conv", *(f"{block}_depthwise_conv" for block in _BLOCKS)),
        default_cut_off=f"{_BLOCKS[-1]}_depthwise_conv",
        taps=(f"{_NAME}_stem_layernorm", *(f"{block}_add" for block in _BLOCKS), "layer_normalization"),
        min_size=_MIN_SIZE,
        stride=32,
        weights_help=keras_file_help(f"{_NAME}_notop.h5"),
    ),
)
