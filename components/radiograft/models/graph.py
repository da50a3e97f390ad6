"""A functional network as a graph: which layer reads which tensors, and what is computed from a layer."""

from __future__ import annotations

from collections.abc import Iterator

import keras


def downstream_layers(network: keras.Model, name: str) -> set[str]:
    """Names of a layer and of every layer that its output reaches."""
    reached = {name}
    for layer, inputs in iter_layers(network):
        if any(producer_name(tensor) in reached for tensor in inputs):
            reached.add(layer.name)
    return reached


def iter_layers(network: keras.Model) -> Iterator[tuple[keras.Layer, list[keras.KerasTensor]]]:
    """Every layer, in topological order, with the tensors it reads in this network (a shared one may read others
    elsewhere)."""
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            yield node.operation, list(node.input_tensors)


def producer_name(tensor: keras.KerasTensor) -> str:
    """Name of the layer that a tensor comes from."""
    return str(tensor._keras_history.operation.name)


def input_tensors(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """The tensors that the layer read to make this one."""
    history = tensor._keras_history
    return list(history.operation._inbound_nodes[history.node_index].input_tensors)
