"""Keras still has the private attributes that `models/keras_internals.py` uses, and no other file uses them."""

from __future__ import annotations

import ast
from typing import Any

import keras
import numpy as np
import pytest

from radiograft.models.keras_internals import GradientHooks, input_tensors, iter_layers, producing_layer
from tests.repository import ROOT

KERAS_INTERNALS = ROOT / "components" / "radiograft" / "models" / "keras_internals.py"
PRIVATE_NAMES = {
    "_nodes_by_depth",
    "_keras_history",
    "_inbound_nodes",
    "_get_variable_index",
    "_all_reduce_sum_gradients",
}


def test_keras_has_every_private_attribute() -> None:
    """Fails if a new version of Keras drops or renames an attribute."""
    inputs, layer = keras.Input((2,)), keras.layers.Dense(1)
    outputs = layer(inputs)
    network, optimizer = keras.Model(inputs, outputs), keras.optimizers.SGD()
    optimizer.build(network.trainable_variables)
    (node,) = network._nodes_by_depth[0]
    assert node.operation is layer
    assert node.input_tensors[0] is inputs
    assert outputs._keras_history.operation is layer
    assert layer._inbound_nodes[outputs._keras_history.node_index].input_tensors[0] is inputs
    assert [optimizer._get_variable_index(variable) for variable in network.trainable_variables] == [0, 1]
    assert callable(optimizer._all_reduce_sum_gradients)


def test_graph_functions_follow_layer_shared_by_two_networks() -> None:
    shared, first, second = keras.layers.Dense(2), keras.Input((2,), name="first"), keras.Input((2,), name="second")
    one, other = keras.Model(first, shared(first)), keras.Model(second, shared(second))
    for network, inputs in ((one, first), (other, second)):
        (_, nothing), (layer, tensors) = iter_layers(network)
        assert nothing == []
        assert layer is shared
        assert [tensor is inputs for tensor in tensors] == [True]
        assert producing_layer(network.output) is shared
        assert [tensor is inputs for tensor in input_tensors(network.output)] == [True]


class DoublingSGD(GradientHooks, keras.optimizers.SGD):  # type: ignore[misc]
    """Doubles all gradients before it applies them."""

    def change_gradients(self, gradients: list[Any]) -> list[Any]:
        return [2 * gradient for gradient in gradients]


def test_gradient_hooks_change_applied_gradients() -> None:
    """Fails if Keras no longer calls the private method that `GradientHooks` overrides."""
    variables = [keras.Variable([1.0, 1.0]), keras.Variable([1.0])]
    optimizer = DoublingSGD(learning_rate=0.25)
    optimizer.build(variables)
    assert [optimizer.variable_index(variable) for variable in variables] == [0, 1]
    optimizer.apply([keras.ops.ones(2), keras.ops.ones(1)], variables)
    for variable in variables:
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), 0.5)


def private_keras_names(tree: ast.AST) -> set[str]:
    """Returns the private names of Keras in a file: known ones anywhere, others after `keras.` and in imports."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) if name in PRIVATE_NAMES or (
                name.startswith("_") and ast.unparse(node).startswith("keras.")
            ):
                names.add(name)
            case ast.Name(id=name) | ast.FunctionDef(name=name) | ast.Constant(value=name) if name in PRIVATE_NAMES:
                names.add(str(name))
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases if is_private_module(alias.name)}
            case ast.ImportFrom(module=str(module), names=aliases):
                full_names = {f"{module}.{alias.name}" for alias in aliases}
                names |= {name for name in full_names if is_private_module(name)}
    return names


def is_private_module(name: str) -> bool:
    package, *parts = name.split(".")
    return package == "keras" and any(part == "src" or part.startswith("_") for part in parts)


@pytest.mark.parametrize("folder", ["components", "pipelines"])
def test_private_names_of_keras_occur_in_one_file_only(folder: str) -> None:
    names = {
        str(path.relative_to(ROOT)): private_keras_names(ast.parse(path.read_text()))
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path != KERAS_INTERNALS
    }
    assert len(names) > 20
    assert {path: private for path, private in names.items() if private} == {}


def test_private_attributes_in_keras_internals_are_all_tested() -> None:
    tree = ast.parse(KERAS_INTERNALS.read_text())
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert {name for name in attributes if name.startswith("_")} == PRIVATE_NAMES


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("tensor._keras_history.operation", {"_keras_history"}),
        ("getattr(network, '_nodes_by_depth')", {"_nodes_by_depth"}),
        ("def _all_reduce_sum_gradients(self, pairs): ...", {"_all_reduce_sum_gradients"}),
        ("keras.utils._private", {"_private"}),
        ("from keras.src.backend import config", {"keras.src.backend.config"}),
        ("import keras._tf_keras", {"keras._tf_keras"}),
        ("from keras import ops; self._folder", set()),
    ],
)
def test_private_keras_names_finds_each_kind_of_use(line: str, names: set[str]) -> None:
    assert private_keras_names(ast.parse(line)) == names
