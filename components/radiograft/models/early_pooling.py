"""Rewrites the end of a network so that each input of its last concatenation is normalized and pooled separately.

A frozen BatchNormalization, the activation and global average pooling process each channel independently. Pooling each
branch before the concatenation therefore gives the same result, and frozen branches are pooled before they are cached.
For DenseNet-121 with the default cut-off, the cache of a 224 px image shrinks from 110 kB to 14.5 kB.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras


def pool_before_concat(network: keras.Model) -> keras.Model:
    """Returns an equivalent network with early pooling, or the network itself if it ends differently.

    Both networks share all layers except the last normalization, activation and pooling. The normalization is copied,
    so it must stay frozen.
    """
    end = _find_end(network)
    if end is None or end[1].trainable:
        return network
    concatenation, normalization, activation, pooling = end
    pooled, start = [], 0
    for number, branch in enumerate(concatenation.input):
        stop = start + branch.shape[-1]
        normalized = _normalize_channels(normalization, branch, slice(start, stop), number)
        pooled.append(_copy(pooling, number)(_copy(activation, number)(normalized)))
        start = stop
    merged = keras.layers.Concatenate(name=f"{pooling.name}_merged")(pooled)
    rest = keras.Model(pooling.output, network.outputs, name=f"{pooling.name}_rest")
    return keras.Model(network.input, rest(merged), name=network.name)


def _find_end(network: keras.Model) -> tuple[keras.Layer, ...] | None:
    """Returns the concatenation, normalization, activation and pooling if they form a chain without branches."""
    kinds = (
        keras.layers.Concatenate,
        keras.layers.BatchNormalization,
        (keras.layers.Activation, keras.layers.ReLU),
        keras.layers.GlobalAveragePooling2D,
    )
    layers = network.layers
    for stop in range(len(kinds), len(layers) + 1):
        chain = layers[stop - len(kinds) : stop]
        same_kinds = all(isinstance(layer, kind) for layer, kind in zip(chain, kinds, strict=True))
        if same_kinds and all(after.input is before.output for before, after in itertools.pairwise(chain)):
            return tuple(chain)
    return None


def _normalize_channels(
    layer: keras.Layer, branch: keras.KerasTensor, channels: slice, number: int
) -> keras.KerasTensor:
    """Normalizes a branch with a copy of the layer that has the weights of these channels only."""
    copy = _copy(layer, number)
    copy.trainable = False
    output = copy(branch)
    copy.set_weights([weights[channels] for weights in layer.get_weights()])
    return output


def _copy(layer: keras.Layer, number: int) -> Any:
    return type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_branch_{number}"})
