"""EfficientNetV2 (Tan and Le 2021) from keras.applications: B0 and S, without stochastic depth.

Without it, frozen layers give the same activations in training as in inference, so these can be cached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from radiograft.backbones.spec import IMAGENET, BackboneSpec, Normalization, keras_file_help

if TYPE_CHECKING:
    import keras

_SMALL = Normalization((128 / 255,) * 3, (128 / 255,) * 3)  # x / 128 - 1


def efficientnet_v2_b0(**arguments: Any) -> keras.Model:
    """Builds EfficientNetV2-B0; takes the arguments of `keras.applications.EfficientNetV2B0`."""
    import keras

    return _without_dropout(keras.applications.EfficientNetV2B0(**arguments, include_preprocessing=False))


def efficientnet_v2_s(**arguments: Any) -> keras.Model:
    """Builds EfficientNetV2-S; takes the arguments of `keras.applications.EfficientNetV2S`."""
    import keras

    return _without_dropout(keras.applications.EfficientNetV2S(**arguments, include_preprocessing=False))


def _without_dropout(network: keras.Model) -> keras.Model:
    """Returns a copy with the same weights in which no layer drops anything in training."""
    import keras

    def copy_layer(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.layers.Dropout):
            return keras.layers.Identity(name=layer.name)
        return type(layer).from_config(layer.get_config())

    copy = keras.models.clone_model(network, clone_function=copy_layer)
    copy.set_weights(network.get_weights())
    return copy


def _blocks(repeats: tuple[int, ...]) -> Iterator[tuple[int, str]]:
    """Yields the stage and the name of each block."""
    for stage, count in enumerate(repeats, start=1):
        for letter in "abcdefghijklmno"[:count]:
            yield stage, f"block{stage}{letter}"


def _spec(
    size: str,
    build: Callable[..., keras.Model],
    normalization: Normalization,
    repeats: tuple[int, ...],
    first_end: str,
    md5: str,
) -> BackboneSpec:
    """Returns the specification of one size.

    Args:
        repeats: number of blocks of each stage.
        first_end: last layer of the first block.
    """
    blocks = list(_blocks(repeats))
    ends = (f"{name}_{'project_bn' if name.endswith('a') else 'add'}" for _, name in blocks[1:])
    return BackboneSpec(
        name=f"efficientnet_v2_{size}",
        build=build,
        normalization=normalization,
        cut_offs=(
            "stem_conv",
            # the first stage has no expansion
            *(f"{name}_{'project' if stage == 1 else 'expand'}_conv" for stage, name in blocks),
            "top_conv",
        ),
        default_cut_off="top_conv",
        taps=(first_end, *ends, "top_activation"),
        min_size=32,
        stride=32,
        weights_help=keras_file_help(f"efficientnetv2-{size}_notop.h5", md5),
    )


BACKBONES = (
    _spec(
        "b0",
        efficientnet_v2_b0,
        IMAGENET,
        (1, 2, 2, 3, 5, 8),
        "block1a_project_activation",
        "893217f2bb855e2983157299931e43ff",
    ),
    _spec("s", efficientnet_v2_s, _SMALL, (2, 4, 4, 6, 9, 15), "block1a_add", "af0682fb74e8c54910f2d4393339c070"),
)
