"""Feature taps: pooled outputs of a backbone's blocks, all computed in one forward pass."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from radiograft.backbones import BackboneSpec
from radiograft.config.base import did_you_mean
from radiograft.models.keras_internals import input_tensors, producing_layer


def check_tap(backbone: BackboneSpec, name: str) -> None:
    """Raises an error if the feature layer is not one of the backbone's taps.

    Raises:
        ValueError: the message suggests similar names.
    """
    if name not in backbone.taps:
        raise ValueError(
            "model_feature_layer must be `auto`, `last` or a block's last layer, "
            f"got {name!r}{did_you_mean(name, backbone.taps)}"
        )


def build_tap_model(backbone: keras.Model, names: Sequence[str]) -> keras.Model:
    """Builds a network from images to the globally pooled outputs of several layers.

    Returns:
        A network to float32 [n, sum of channels] that shares the backbone's layers; see `tap_widths`.
    """
    known: dict[int, keras.KerasTensor] = {}
    pooled = [_pool(backbone.get_layer(name).output, known) for name in names]
    features = keras.layers.Concatenate(dtype="float32", name="taps")(pooled) if len(pooled) > 1 else pooled[0]
    return keras.Model(backbone.input, features, name=f"{backbone.name}_features")


def _pool(tensor: keras.KerasTensor, known: dict[int, keras.KerasTensor]) -> keras.KerasTensor:
    """Pools the channels of a tensor globally.

    The inputs of a concatenation are pooled separately and only once, since DenseNet concatenates the same tensors in
    many layers.

    Args:
        tensor: output of a layer, [n, height, width, channels].
        known: pooled tensors by the ID of their source; new ones are added.
    """
    if id(tensor) not in known:
        layer = producing_layer(tensor)
        if isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, len(tensor.shape) - 1):
            parts = [_pool(part, known) for part in input_tensors(tensor)]
            known[id(tensor)] = keras.layers.Concatenate(dtype="float32", name=f"{layer.name}_tap")(parts)
        else:
            pooling = keras.layers.GlobalAveragePooling2D(dtype="float32", name=f"{layer.name}_tap")
            known[id(tensor)] = pooling(tensor)
    return known[id(tensor)]


def tap_widths(backbone: keras.Model, names: Sequence[str]) -> list[int]:
    """Returns the number of channels of each layer, in the order in which `build_tap_model` concatenates them."""
    return [int(backbone.get_layer(name).output.shape[-1]) for name in names]
