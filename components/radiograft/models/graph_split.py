"""Splits a network at a layer into a frozen prefix, which runs once, and a trainable suffix, which runs every epoch.

Both share the network's layers, so training the suffix trains the network.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from radiograft.models.cut_offs import check_cut_off
from radiograft.models.graph import downstream_layers, further_inputs, image_inputs, layers_from
from radiograft.models.keras_internals import input_tensors, iter_layers, producing_layer

ELEMENTWISE_LAYERS = (keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.ReLU)


@dataclasses.dataclass(frozen=True)
class SplitModel:
    """A network split in two models that share its layers.

    The tensors where prefix and suffix meet are called the frontier.

    Attributes:
        network: the whole network.
        prefix: from images to the frontier.
        suffix: from the frontier, and the network's further inputs, to its output.
    """

    network: keras.Model
    prefix: keras.Model
    suffix: keras.Model

    def bytes_per_copy(self, itemsize: int = 2) -> int:
        """Returns the size of the frontier of one copy of an image; `itemsize` is the size of a number."""
        return itemsize * sum(int(np.prod(tensor.shape[1:])) for tensor in self.prefix.outputs)


def split_model(network: keras.Model, cut_off: str) -> SplitModel:
    """Splits a functional network so that the suffix contains the cut-off layer and all layers that depend on it.

    The frontier consists of all outputs of frozen layers that the suffix reads. A chain of layers has one such tensor;
    a network whose branches bypass the cut-off, such as DenseNet, has several. If frozen normalizations and
    activations compute one frontier tensor from another, the suffix recomputes it, which is cheaper than storing it:
    the frontier at the first convolution of a dense layer is then half as large.

    Inputs that are not images, and all layers that depend on them, belong to the suffix.

    Raises:
        ValueError: there is no such layer, or the cut-off is the input.
    """
    check_cut_off(network, cut_off)
    downstream = layers_from(network, cut_off)
    if any(isinstance(layer, keras.layers.InputLayer) and layer.name in downstream for layer in network.layers):
        raise ValueError(f"model_cut_off must leave layers to freeze, got the input {cut_off!r}")
    further = further_inputs(network)
    for name in (producing_layer(tensor).name for tensor in further):
        downstream |= downstream_layers(network, name) - {name}
    joined = set(map(id, further))
    found = [tensor for tensor in find_frontier(network, downstream) if id(tensor) not in joined]
    frontier = _without_recomputable(found)
    prefix = keras.Model(image_inputs(network), frontier, name=f"{network.name}_prefix")
    suffix = keras.Model([*frontier, *further], network.outputs, name=f"{network.name}_suffix")
    return SplitModel(network, prefix, suffix)


def bridge_model(shallower: SplitModel, deeper: SplitModel) -> keras.Model:
    """Returns the frozen layers between two splits of one network, from the shallower to the deeper frontier."""
    inputs = shallower.prefix.outputs
    known = {id(tensor) for tensor in inputs}
    # Keras cannot build a model in the middle of a graph whose output is also its input, hence the identity.
    outputs = [
        keras.layers.Identity(dtype=tensor.dtype)(tensor) if id(tensor) in known else tensor
        for tensor in deeper.prefix.outputs
    ]
    return keras.Model(inputs, outputs, name=f"{deeper.network.name}_between")


def find_frontier(network: keras.Model, downstream: set[str]) -> list[keras.KerasTensor]:
    """Returns the outputs of frozen layers that downstream layers read, without repeats, in topological order."""
    frontier: dict[int, keras.KerasTensor] = {}
    for layer, inputs in iter_layers(network):
        if layer.name in downstream:
            frontier |= {id(tensor): tensor for tensor in inputs if producing_layer(tensor).name not in downstream}
    return list(frontier.values())


def _without_recomputable(frontier: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
    """Removes tensors that frozen element-wise layers compute from other tensors of the frontier."""
    known = {id(tensor) for tensor in frontier}
    return [tensor for tensor in frontier if not any(id(source) in known for source in _elementwise_sources(tensor))]


def _elementwise_sources(tensor: keras.KerasTensor) -> Iterator[keras.KerasTensor]:
    """Yields the inputs of the frozen element-wise layers that lead to the tensor, nearest first."""
    layer = producing_layer(tensor)
    while isinstance(layer, ELEMENTWISE_LAYERS) and not layer.trainable_weights:
        (tensor,) = input_tensors(tensor)
        yield tensor
        layer = producing_layer(tensor)


def pool_before_concat(network: keras.Model) -> keras.Model:
    """Returns an equivalent network with early pooling, or the network itself if it ends differently.

    Both networks share all layers except the last normalization, activation and pooling. The normalization is copied,
    so it must stay frozen.
    """
    end = _find_end(network)
    if end is None or end[1].trainable or len(find_frontier(network, downstream_layers(network, end[-1].name))) > 1:
        return network  # with several feature layers the classifier reads more than this pooling
    concatenation, normalization, activation, pooling = end
    pooled, start = [], 0
    for number, branch in enumerate(concatenation.input):
        stop = start + branch.shape[-1]
        normalized = _normalize_channels(normalization, branch, slice(start, stop), number)
        pooled.append(_copy(pooling, number)(_copy(activation, number)(normalized)))
        start = stop
    merged = keras.layers.Concatenate(name=f"{pooling.name}_merged")(pooled)
    further = further_inputs(network)
    given = [pooling.output, *further] if further else pooling.output
    rest = keras.Model(given, network.outputs, name=f"{pooling.name}_rest")
    return keras.Model(network.input, rest([merged, *further] if further else merged), name=network.name)


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
