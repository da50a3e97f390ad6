"""ResNet (He et al. 2016) from keras.applications, with 50, 101 or 152 layers.

This is version 1: the stride is in the first 1x1 convolution, as in the authors' weights. torchvision's ResNet has it
in the 3x3 convolution, so its weights do not fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import CAFFE, BackboneSpec, keras_file_help

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
    )


BACKBONES = (_spec(50, resnet50), _spec(101, resnet101), _spec(152, resnet152))
