"""Cuts a network at a layer into a frozen prefix, which runs once, and a trainable suffix, which runs every epoch.

Prefix and suffix share the network's layers: what the suffix learns, the network knows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import keras
import numpy as np

from radiograft.models.cut_offs import check_cut_off
from radiograft.models.graph import downstream_layers
from radiograft.models.keras_internals import input_tensors, iter_layers, producing_layer

ELEMENTWISE_LAYERS = (keras.layers.BatchNormalization, keras.layers.Activation, keras.layers.ReLU)


@dataclasses.dataclass(frozen=True)
class SplitModel:
    """`prefix` maps images to a list of frontier tensors, `suffix` maps that list to the network's output.

    `network` is the whole, with the same layers.
    """

    network: keras.Model
    prefix: keras.Model
    suffix: keras.Model

    def bytes_a_view(self, itemsize: int = 2) -> int:
        """Size of one image's frontier in a cache of `itemsize` bytes a number."""
        return itemsize * sum(int(np.prod(tensor.shape[1:])) for tensor in self.prefix.outputs)


def split_model(network: keras.Model, cut_off: str) -> SplitModel:
    """Splits any functional network so that the suffix holds the cut-off layer and all that is computed from it.

    The frontier is every tensor of the frozen side that the other side reads: one in a chain, several where branches
    pass the cut, as DenseNet's concatenations do. What frozen normalizations and activations make of another frontier
    tensor the suffix computes again, which is cheaper than to store it: at the first convolution of a dense layer the
    frontier is half as large.

    Raises:
        ValueError: no such layer, or the cut-off is the input.
    """
    check_cut_off(network, cut_off)
    behind = downstream_layers(network, cut_off)
    if any(isinstance(layer, keras.layers.InputLayer) and layer.name in behind for layer in network.layers):
        raise ValueError(f"model_cut_off must leave layers to freeze, got the input {cut_off!r}")
    frontier = _stored(_frontier(network, behind))
    prefix = keras.Model(network.input, frontier, name=f"{network.name}_prefix")
    suffix = keras.Model(frontier, network.outputs, name=f"{network.name}_suffix")
    return SplitModel(network, prefix, suffix)


def bridge_model(shallower: SplitModel, deeper: SplitModel) -> keras.Model:
    """The frozen layers between two cuts of one network, from the shallower frontier's tensors to the deeper one's."""
    inputs = shallower.prefix.outputs
    known = {id(tensor) for tensor in inputs}
    # A model whose output is its own input cannot be built from the middle of a graph, hence the identity.
    outputs = [
        keras.layers.Identity(dtype=tensor.dtype)(tensor) if id(tensor) in known else tensor
        for tensor in deeper.prefix.outputs
    ]
    return keras.Model(inputs, outputs, name=f"{deeper.network.name}_between")


def _frontier(network: keras.Model, behind: set[str]) -> list[keras.KerasTensor]:
    """Tensors from frozen layers that layers behind the cut read, each once, in the order of the layers."""
    found: dict[int, keras.KerasTensor] = {}
    for layer, inputs in iter_layers(network):
        if layer.name in behind:
            found |= {id(tensor): tensor for tensor in inputs if producing_layer(tensor).name not in behind}
    return list(found.values())


def _stored(frontier: list[keras.KerasTensor]) -> list[keras.KerasTensor]:
    """The frontier without the tensors that frozen normalizations and activations make of others of it."""
    known = {id(tensor) for tensor in frontier}
    return [tensor for tensor in frontier if not any(id(origin) in known for origin in _origins(tensor))]


def _origins(tensor: keras.KerasTensor) -> Iterator[keras.KerasTensor]:
    """Back along the frozen layers that treat each number of a channel alike."""
    while isinstance(maker := producing_layer(tensor), ELEMENTWISE_LAYERS) and not maker.trainable_weights:
        (tensor,) = input_tensors(tensor)
        yield tensor
