"""DenseNet-121 (Huang et al. 2017) from keras.applications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import IMAGENET, BackboneSpec

if TYPE_CHECKING:
    import keras

_DENSE_LAYERS = {2: 6, 3: 12, 4: 24, 5: 16}  # dense layers by stage, as Keras numbers the stages


def densenet121(**arguments: Any) -> keras.Model:
    """Builds DenseNet-121; takes the arguments of `keras.applications.DenseNet121`."""
    import keras

    return keras.applications.DenseNet121(**arguments)


def _by_stage(dense_layer: str, transition: str) -> tuple[str, ...]:
    """Returns one layer name for each dense layer, and one for the transition after each stage but the last."""
    names = []
    for stage, count in _DENSE_LAYERS.items():
        names += [dense_layer.format(stage=stage, number=number) for number in range(1, count + 1)]
        if stage < max(_DENSE_LAYERS):
            names.append(transition.format(stage=stage))
    return tuple(names)


BACKBONES = (
    BackboneSpec(
        name="densenet121",
        build=densenet121,
        normalization=IMAGENET,
        cut_offs=(*_by_stage("conv{stage}_block{number}_1_conv", "pool{stage}_conv"), "conv5_block16_2_conv"),
        default_cut_off="conv5_block16_2_conv",
        taps=(*_by_stage("conv{stage}_block{number}_concat", "pool{stage}_pool"), "relu"),
        min_size=32,
        stride=32,
        weights_help="download densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5 from Keras's storage on a "
        "machine with internet and give its path or gs:// URI as model_weights with "
        "model_weights_md5=30ee3e1110167f948a6b9946edeeb738, or choose model_weights=none",
    ),
)
