"""Rewrites a network's end so that each branch of its last concatenation is normalized and pooled by itself.

A frozen BatchNormalization, the activation and global average pooling treat every channel alone, so pooling branch by
branch and concatenating the results gives the same numbers. A branch that is frozen is then pooled before it is cached:
DenseNet-121 at the poster's cut-off needs 14.5 kB an image at 224 px instead of 110.
"""

from __future__ import annotations

import itertools
from typing import Any

import keras


def pool_before_concat(network: keras.Model) -> keras.Model:
    """An equal network with early pooling, or the network itself where its end is of another kind.

    Every layer but the last normalization, activation and pooling is shared with `network`; the normalization is
    copied, which holds as long as it stays frozen.
    """
    found = _end(network)
    if found is None or found[1].trainable:
        return network
    concatenation, normalization, activation, pooling = found
    pooled, start = [], 0
    for number, branch in enumerate(concatenation.input):
        channels = branch.shape[-1]
        part = _slice(normalization, branch, slice(start, start + channels), number)
        pooled.append(_copy(pooling, number)(_copy(activation, number)(part)))
        start += channels
    merged = keras.layers.Concatenate(name=f"{pooling.name}_merged")(pooled)
    rest = keras.Model(pooling.output, network.outputs, name=f"{pooling.name}_rest")
    return keras.Model(network.input, rest(merged), name=network.name)


def _end(network: keras.Model) -> tuple[keras.Layer, ...] | None:
    """The last concatenation, normalization, activation and pooling, if they follow one another alone."""
    kinds = (
        keras.layers.Concatenate,
        keras.layers.BatchNormalization,
        (keras.layers.Activation, keras.layers.ReLU),
        keras.layers.GlobalAveragePooling2D,
    )
    layers = network.layers
    for end in range(len(kinds), len(layers) + 1):
        chain = layers[end - len(kinds) : end]
        fits = all(isinstance(layer, kind) for layer, kind in zip(chain, kinds, strict=True))
        if fits and all(after.input is before.output for before, after in itertools.pairwise(chain)):
            return tuple(chain)
    return None


def _slice(layer: keras.Layer, branch: keras.KerasTensor, channels: slice, number: int) -> keras.KerasTensor:
    """The normalization applied to some of its channels only."""
    part = _copy(layer, number)
    part.trainable = False
    output = part(branch)
    part.set_weights([weights[channels] for weights in layer.get_weights()])
    return output


def _copy(layer: keras.Layer, number: int) -> Any:
    return type(layer).from_config({**layer.get_config(), "name": f"{layer.name}_branch_{number}"})
