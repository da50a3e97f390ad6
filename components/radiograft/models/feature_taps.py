"""Where a backbone can be tapped for features: the output of every block, pooled, all from one forward pass."""

from __future__ import annotations

import re

import keras

from radiograft.config.base import did_you_mean
from radiograft.models.graph import input_tensors

# DenseNet's dense layers and transitions, ResNet's and EfficientNet's and MobileNet's blocks, as Keras names them.
BLOCK = re.compile(r"(conv\d+_block\d+|block_?\d+[a-z]?|pool\d+)_")


def tap_layers(backbone: keras.Model) -> list[str]:
    """Names of the last layer of each block, from the input on, and of the backbone's last layer.

    DenseNet-121 has 58 dense layers, 3 transitions and its last activation.
    """
    last_of_block: dict[str, str] = {}
    for layer in backbone.layers:
        if match := BLOCK.match(layer.name):
            last_of_block[match[1]] = layer.name
    names = set(last_of_block.values()) | {backbone.layers[-1].name}
    return [layer.name for layer in backbone.layers if layer.name in names]


def check_tap(backbone: keras.Model, name: str) -> None:
    """Refuses a feature layer that is none of the candidates.

    Raises:
        ValueError: with the nearest names.
    """
    names = tap_layers(backbone)
    if name not in names:
        raise ValueError(
            f"model_feature_layer must be `auto`, `last` or a block's last layer, got {name!r}{did_you_mean(name, names)}"
        )


def build_tap_model(backbone: keras.Model, names: list[str]) -> keras.Model:
    """Images to float32 [n, sum of channels]: the pooled outputs of the layers named, one after another."""
    known: dict[int, keras.KerasTensor] = {}
    pools = [_pool(backbone.get_layer(name).output, known) for name in names]
    features = keras.layers.Concatenate(dtype="float32", name="taps")(pools) if len(pools) > 1 else pools[0]
    return keras.Model(backbone.input, features, name=f"{backbone.name}_features")


def _pool(tensor: keras.KerasTensor, known: dict[int, keras.KerasTensor]) -> keras.KerasTensor:
    """A tensor's channels pooled. Of a concatenation's, each part is pooled but once: DenseNet hands on what it has."""
    if id(tensor) not in known:
        layer = tensor._keras_history.operation
        if isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, len(tensor.shape) - 1):
            parts = [_pool(part, known) for part in input_tensors(tensor)]
            known[id(tensor)] = keras.layers.Concatenate(dtype="float32", name=f"{layer.name}_tap")(parts)
        else:
            pooling = keras.layers.GlobalAveragePooling2D(dtype="float32", name=f"{layer.name}_tap")
            known[id(tensor)] = pooling(tensor)
    return known[id(tensor)]


def tap_widths(backbone: keras.Model, names: list[str]) -> list[int]:
    """Channels of the layers named, the widths of their parts in `tapped`'s output."""
    return [int(backbone.get_layer(name).output.shape[-1]) for name in names]
