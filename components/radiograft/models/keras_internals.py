"""The only module that uses private attributes of Keras; a test names each of them.

Keras has no public way to walk a functional network's graph or to change gradients after they were summed over devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras


def iter_layers(network: keras.Model) -> Iterator[tuple[keras.Layer, list[keras.KerasTensor]]]:
    """Yields each layer in topological order with the tensors it reads in this network.

    A layer that is shared with another network may read other tensors there.
    """
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            yield node.operation, list(node.input_tensors)


def producing_layer(tensor: keras.KerasTensor) -> keras.Layer:
    """Returns the layer that computes a tensor."""
    return tensor._keras_history.operation


def input_tensors(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Returns the tensors from which a layer computes this one."""
    history = tensor._keras_history
    return list(history.operation._inbound_nodes[history.node_index].input_tensors)


class GradientHooks:
    """Mixin for a Keras optimizer: changes gradients after they were summed over all devices."""

    def change_gradients(self, gradients: list[Any]) -> list[Any]:
        """Returns the gradients to apply; override it."""
        return gradients

    def variable_index(self, variable: keras.Variable) -> int:
        """Returns the position of a variable among those that the optimizer was built for."""
        return int(self._get_variable_index(variable))  # type: ignore[attr-defined]

    def _all_reduce_sum_gradients(self, pairs: Any) -> Any:
        gradients, variables = zip(*super()._all_reduce_sum_gradients(pairs), strict=True)  # type: ignore[misc]
        return list(zip(self.change_gradients(list(gradients)), variables, strict=True))
