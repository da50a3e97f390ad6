"""DenseNet (Huang et al. 2017) from keras.applications, with 121, 169 or 201 layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import IMAGENET, BackboneSpec, WeightLayout, keras_file_help

if TYPE_CHECKING:
    import keras

# By number of layers: dense layers of each stage, as Keras numbers the stages, and the MD5 of Keras's weight file.
_STAGES: dict[int, Mapping[int, int]] = {
    121: {2: 6, 3: 12, 4: 24, 5: 16},
    169: {2: 6, 3: 12, 4: 32, 5: 32},
    201: {2: 6, 3: 12, 4: 48, 5: 32},
}
_MD5 = {
    121: "30ee3e1110167f948a6b9946edeeb738",
    169: "b8c4d4c20dd625c148057b9ff1c1176b",
    201: "c13680b51ded0fb44dff2d8f86ac8bb1",
}


def densenet121(**arguments: Any) -> keras.Model:
    """Builds DenseNet-121; takes the arguments of `keras.applications.DenseNet121`."""
    import keras

    return keras.applications.DenseNet121(**arguments)


def densenet169(**arguments: Any) -> keras.Model:
    """Builds DenseNet-169; takes the arguments of `keras.applications.DenseNet169`."""
    import keras

    return keras.applications.DenseNet169(**arguments)


def densenet201(**arguments: Any) -> keras.Model:
    """Builds DenseNet-201; takes the arguments of `keras.applications.DenseNet201`."""
    import keras

    return keras.applications.DenseNet201(**arguments)


def _by_stage(stages: Mapping[int, int], dense_layer: str, transition: str) -> tuple[str, ...]:
    """Returns one layer name for each dense layer, and one for the transition after each stage but the last."""
    names = []
    for stage, count in stages.items():
        names += [dense_layer.format(stage=stage, number=number) for number in range(1, count + 1)]
        if stage < max(stages):
            names.append(transition.format(stage=stage))
    return tuple(names)


def _torch_names(stages: Mapping[int, int]) -> Iterator[tuple[str, str]]:
    yield from (("conv1_conv", "features.conv0"), ("conv1_bn", "features.norm0"))
    for stage, count in stages.items():
        for number in range(1, count + 1):
            layer, prefix = f"conv{stage}_block{number}", f"features.denseblock{stage - 1}.denselayer{number}"
            yield from ((f"{layer}_0_bn", f"{prefix}.norm1"), (f"{layer}_1_conv", f"{prefix}.conv1"))
            yield from ((f"{layer}_1_bn", f"{prefix}.norm2"), (f"{layer}_2_conv", f"{prefix}.conv2"))
        if stage < max(stages):
            transition = f"features.transition{stage - 1}"
            yield from ((f"pool{stage}_bn", f"{transition}.norm"), (f"pool{stage}_conv", f"{transition}.conv"))
    yield ("bn", "features.norm5")


def _spec(layers: int, build: Callable[..., keras.Model]) -> BackboneSpec:
    stages, name = _STAGES[layers], f"densenet{layers}"
    last = f"conv5_block{stages[5]}_2_conv"
    return BackboneSpec(
        name=name,
        build=build,
        normalization=IMAGENET,
        cut_offs=(*_by_stage(stages, "conv{stage}_block{number}_1_conv", "pool{stage}_conv"), last),
        default_cut_off=last,
        taps=(*_by_stage(stages, "conv{stage}_block{number}_concat", "pool{stage}_pool"), "relu"),
        min_size=32,
        stride=32,
        weights_help=keras_file_help(f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5", _MD5[layers]),
        layouts=(WeightLayout("torchvision", tuple(_torch_names(stages)), IMAGENET),),
    )


BACKBONES = (_spec(121, densenet121), _spec(169, densenet169), _spec(201, densenet201))
