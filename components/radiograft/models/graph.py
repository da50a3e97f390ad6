"""A functional network as a graph of layers: what depends on a layer, and on what a layer depends."""

from __future__ import annotations

import keras

from radiograft.models.keras_internals import iter_layers, producing_layer

IMAGE_RANK = 4


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


def image_inputs(network: keras.Model) -> keras.KerasTensor | list[keras.KerasTensor]:
    """Returns the image that a network reads, or the list of several."""
    images = [tensor for tensor in network.inputs if len(tensor.shape) == IMAGE_RANK]
    return images[0] if len(images) == 1 else images


def further_inputs(network: keras.Model) -> list[keras.KerasTensor]:
    """Returns the tensors at which parts of a network begin, in place of its inputs that are not images.

    Each such input is read by a single layer, an `Identity`, whose output is returned: if a model begins at an input
    and at a tensor inside the graph, Keras rewires the input, and the whole network can no longer be saved.
    """
    given = {id(tensor) for tensor in network.inputs if len(tensor.shape) != IMAGE_RANK}
    return [layer.output for layer, inputs in iter_layers(network) if any(id(tensor) in given for tensor in inputs)]


def input_of(network: keras.Model, name: str) -> keras.KerasTensor:
    """Returns the only tensor that a layer reads in this network."""
    (tensor,) = next(inputs for layer, inputs in iter_layers(network) if layer.name == name)
    return tensor
