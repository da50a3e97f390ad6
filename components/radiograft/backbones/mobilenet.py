"""MobileNetV2 (Sandler et al. 2018) from keras.applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import MINUS_ONE_TO_ONE, BackboneSpec, WeightLayout, keras_file_help

if TYPE_CHECKING:
    import keras

_BLOCKS = range(1, 17)  # inverted residual blocks with expansion
_WITHOUT_RESIDUAL = {1, 3, 6, 10, 13, 16}  # the stride is 2, or the number of channels changes


def mobilenet_v2(**arguments: Any) -> keras.Model:
    """Builds MobileNetV2 of width 1.0; takes the arguments of `keras.applications.MobileNetV2`."""
    import keras

    return keras.applications.MobileNetV2(**arguments)


BACKBONES = (
    BackboneSpec(
        name="mobilenet_v2",
        build=mobilenet_v2,
        normalization=MINUS_ONE_TO_ONE,
        cut_offs=("Conv1", "expanded_conv_depthwise", *(f"block_{block}_expand" for block in _BLOCKS), "Conv_1"),
        default_cut_off="Conv_1",
        taps=(
            "expanded_conv_project_BN",
            *(f"block_{block}_{'project_BN' if block in _WITHOUT_RESIDUAL else 'add'}" for block in _BLOCKS),
            "out_relu",
        ),
        min_size=32,
        stride=32,
        weights_help=keras_file_help("mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"),
        layouts=(WeightLayout("tflite", (), MINUS_ONE_TO_ONE, order="tflite"),),
    ),
)
