"""A functional network as a graph of layers: what depends on a layer, and on what a layer depends."""

from __future__ import annotations

import keras

from radiograft.models.keras_internals import iter_layers, producing_layer


def downstream_layers(network: keras.Model, name: str) -> set[str]:
    """Returns the names of a layer and of every layer that depends on its output."""
    reached = {name}
    for layer, inputs in iter_layers(network):
        if any(producing_layer(tensor).name in reached for tensor in inputs):
            reached.add(layer.name)
    return reached


def upstream_layers(network: keras.Model, name: str) -> set[str]:
    """Returns the names of a layer and of every layer on which its output depends, without input layers."""
    layers = list(iter_layers(network))
    needed = {name}
    for layer, inputs in reversed(layers):
        if layer.name in needed:
            needed |= {str(producing_layer(tensor).name) for tensor in inputs}
    return needed - {layer.name for layer, inputs in layers if not inputs}


def input_of(network: keras.Model, name: str) -> keras.KerasTensor:
    """Returns the only tensor that a layer reads in this network."""
    (tensor,) = next(inputs for layer, inputs in iter_layers(network) if layer.name == name)
    return tensor


def read_output_of(network: keras.Model, name: str) -> keras.KerasTensor:
    """Returns the tensor of a layer that another layer of this network reads.

    The attribute `output` of a layer is that of the network in which the layer was used first.
    """
    tensors = (tensor for _, inputs in iter_layers(network) for tensor in inputs)
    return next(tensor for tensor in tensors if producing_layer(tensor).name == name)
