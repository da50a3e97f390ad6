"""ResNet (He et al. 2016) from keras.applications, with 50, 101 or 152 layers.

This is version 1: the stride is in the first 1x1 convolution, as in the authors' weights. torchvision's ResNet, known
as version 1.5, has it in the 3x3 convolution. Weights of torchvision and timm bring that network along.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import CAFFE, IMAGENET, BackboneSpec, WeightLayout, keras_file_help

if TYPE_CHECKING:
    import keras

# By number of layers: blocks of each stage, and the MD5 of Keras's weight file.
_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_MD5 = {
    50: "4d473c1dd8becc155b73f8504c6f6626",
    101: "88cf7a10940856eca736dc7b7e228a21",
    152: "ee4c566cf9a93f14d82f913c2dc6dd0c",
}


def resnet50(**arguments: Any) -> keras.Model:
    """Builds ResNet-50; takes the arguments of `keras.applications.ResNet50`."""
    import keras

    return keras.applications.ResNet50(**arguments)


def resnet101(**arguments: Any) -> keras.Model:
    """Builds ResNet-101; takes the arguments of `keras.applications.ResNet101`."""
    import keras

    return keras.applications.ResNet101(**arguments)


def resnet152(**arguments: Any) -> keras.Model:
    """Builds ResNet-152; takes the arguments of `keras.applications.ResNet152`."""
    import keras

    return keras.applications.ResNet152(**arguments)


def _version_1_5(original: Callable[..., keras.Model], **arguments: Any) -> keras.Model:
    """Builds torchvision's network: the stride of a stage is in the 3x3 convolution, which pads both sides equally."""
    import keras

    def copy_layer(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            config["epsilon"] = 1e-5
        if layer.name in _MOVED_STRIDES:
            config["strides"] = 1
        if layer.name in _NEW_STRIDES:
            config |= {"strides": 2, "padding": "valid"}
        return type(layer).from_config(config)

    def call_layer(layer: keras.Layer, image: Any, **options: Any) -> Any:
        if layer.name in _NEW_STRIDES:
            image = keras.layers.ZeroPadding2D(1, name=f"{layer.name.removesuffix('_conv')}_pad")(image)
        return layer(image, **options)

    network = original(**arguments)
    copy = keras.models.clone_model(network, clone_function=copy_layer, call_function=call_layer)
    copy.set_weights(network.get_weights())
    return copy


_MOVED_STRIDES = {f"conv{stage}_block1_1_conv" for stage in (3, 4, 5)}
_NEW_STRIDES = {f"conv{stage}_block1_2_conv" for stage in (3, 4, 5)}


def _torch_names(blocks: tuple[int, ...]) -> Iterator[tuple[str, str]]:
    yield from (("conv1_conv", "conv1"), ("conv1_bn", "bn1"))
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            layer, prefix = f"conv{stage + 1}_block{block + 1}", f"layer{stage}.{block}"
            if block == 0:
                yield from ((f"{layer}_0_conv", f"{prefix}.downsample.0"), (f"{layer}_0_bn", f"{prefix}.downsample.1"))
            for part in (1, 2, 3):
                yield from (
                    (f"{layer}_{part}_conv", f"{prefix}.conv{part}"),
                    (f"{layer}_{part}_bn", f"{prefix}.bn{part}"),
                )


def _spec(layers: int, build: Callable[..., keras.Model]) -> BackboneSpec:
    blocks = [
        f"conv{stage}_block{block}"
        for stage, count in enumerate(_BLOCKS[layers], start=2)
        for block in range(1, count + 1)
    ]
    last = f"{blocks[-1]}_3_conv"
    return BackboneSpec(
        name=f"resnet{layers}",
        build=build,
        normalization=CAFFE,
        cut_offs=("conv1_conv", *(f"{block}_1_conv" for block in blocks), last),
        default_cut_off=last,
        taps=("pool1_pool", *(f"{block}_out" for block in blocks)),
        min_size=32,
        stride=32,
        weights_help=keras_file_help(f"resnet{layers}_weights_tf_dim_ordering_tf_kernels_notop.h5", _MD5[layers]),
        layouts=(
            WeightLayout(
                "torchvision",
                tuple(_torch_names(_BLOCKS[layers])),
                IMAGENET,
                build=functools.partial(_version_1_5, build),
                marker="conv3_block1_2_pad",
                has_biases=False,
            ),
        ),
    )


BACKBONES = (_spec(50, resnet50), _spec(101, resnet101), _spec(152, resnet152))
