"""Cuts a network at a layer into a frozen prefix, which runs once, and a trainable suffix, which runs every epoch.

Prefix and suffix share the network's layers: what the suffix learns, the network knows.
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np

from components.modeling.graph import computed_from, consumers, producer
from components.modeling.network import check_cut_off


@dataclasses.dataclass(frozen=True)
class Split:
    """`prefix` maps pictures to a list of frontier tensors, `suffix` maps that list to the network's output.

    `network` is the whole, with the same layers.
    """

    network: keras.Model
    prefix: keras.Model
    suffix: keras.Model

    def bytes_a_view(self, itemsize: int = 2) -> int:
        """Size of one picture's frontier in a cache of `itemsize` bytes a number."""
        return itemsize * sum(int(np.prod(tensor.shape[1:])) for tensor in self.prefix.outputs)


def split(network: keras.Model, cut_off: str) -> Split:
    """Splits any functional network so that the suffix holds the cut-off layer and all that is computed from it.

    The frontier is every tensor of the frozen side that the other side reads: one in a chain, several where branches
    pass the cut, as DenseNet's concatenations do. Channels that from there on only meet frozen layers until they are
    pooled, are pooled in the prefix already, which makes the poster's cut-off 8 times smaller.

    Raises:
        ValueError: no such layer, or the cut-off is the input.
    """
    check_cut_off(network, cut_off)
    behind = computed_from(network, cut_off)
    if any(isinstance(layer, keras.layers.InputLayer) and layer.name in behind for layer in network.layers):
        raise ValueError(f"model_cut_off must leave layers to freeze, got the input {cut_off!r}")
    frontier = _frontier(network, behind)
    prefix = keras.Model(network.input, frontier, name=f"{network.name}_prefix")
    suffix = keras.Model(frontier, network.outputs, name=f"{network.name}_suffix")
    return Split(network, prefix, suffix)


def _frontier(network: keras.Model, behind: set[str]) -> list[keras.KerasTensor]:
    """Tensors from frozen layers that layers behind the cut read, each once, in the order of the layers."""
    found: dict[int, keras.KerasTensor] = {}
    for layer, inputs in consumers(network):
        if layer.name in behind:
            found |= {id(tensor): tensor for tensor in inputs if producer(tensor) not in behind}
    return list(found.values())
