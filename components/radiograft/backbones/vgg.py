"""VGG-16 (Simonyan and Zisserman 2015) from keras.applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import CAFFE, IMAGENET, BackboneSpec, WeightLayout, keras_file_help

if TYPE_CHECKING:
    import keras

_CONVOLUTIONS = {1: 2, 2: 2, 3: 3, 4: 3, 5: 3}  # by block
_NAMES = tuple(f"block{block}_conv{n}" for block, count in _CONVOLUTIONS.items() for n in range(1, count + 1))

_TORCH_NAMES = tuple(f"features.{index}" for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28))


def vgg16(**arguments: Any) -> keras.Model:
    """Builds VGG-16; takes the arguments of `keras.applications.VGG16`."""
    import keras

    return keras.applications.VGG16(**arguments)


BACKBONES = (
    BackboneSpec(
        name="vgg16",
        build=vgg16,
        normalization=CAFFE,
        cut_offs=_NAMES,
        default_cut_off="block5_conv3",
        taps=tuple(f"block{block}_pool" for block in _CONVOLUTIONS),
        min_size=32,
        stride=32,
        weights_help=keras_file_help(
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5", "6d6bbae143d832006294945121d1f1fc"
        ),
        layouts=(WeightLayout("torchvision", tuple(zip(_NAMES, _TORCH_NAMES, strict=True)), IMAGENET),),
    ),
)
