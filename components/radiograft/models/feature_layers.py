"""Feature layers: the taps of a backbone whose pooled outputs the classifier reads, one of them or several joined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras

from radiograft.config.network import ALL_LAYERS, LAST_LAYER, split_feature_layers
from radiograft.models.graph import input_of
from radiograft.models.keras_internals import input_tensors, iter_layers, producing_layer
from radiograft.models.spec import TensorNames


class FeaturePart(NamedTuple):
    """Channels of a tapped layer that no earlier part contains.

    Attributes:
        layer: name of the tapped layer.
        start: number of its first channel in this part.
        tensor: the activation to pool, [n, height, width, channels].
    """

    layer: str
    start: int
    tensor: keras.KerasTensor

    @property
    def channels(self) -> slice:
        """Position of the part among the channels of its layer."""
        return slice(self.start, self.start + int(self.tensor.shape[-1]))


def named_layers(setting: str, taps: Sequence[str]) -> list[str]:
    """Returns the layers that `model_feature_layer` names, from the input to the output, if it is not `auto`.

    Args:
        setting: `last`, `all`, or names of taps separated by commas.
        taps: the backbone's taps.

    Example:
        >>> named_layers("fire9, fire5", ["fire5", "fire8", "fire9"])
        ['fire5', 'fire9']
    """
    names = {LAST_LAYER: taps[-1:], ALL_LAYERS: taps}.get(setting) or split_feature_layers(setting)
    return [tap for tap in taps if tap in names]


def feature_parts(backbone: keras.Model, layers: Sequence[str]) -> list[FeaturePart]:
    """Returns what is joined if a classifier reads several layers; every channel occurs once.

    A layer of DenseNet concatenates the outputs of all layers before it in its block. Of such a layer only the tensors
    that are new are joined. Any other layer is one part.

    Args:
        layers: names of the tapped layers, from the input to the output.
    """
    seen, parts = set[int](), list[FeaturePart]()
    for name in layers:
        output, start, new = backbone.get_layer(name).output, 0, list[FeaturePart]()
        tensors = _concatenated(output)
        for tensor in tensors:
            if id(tensor) not in seen:
                new.append(FeaturePart(name, start, tensor))
            start += int(tensor.shape[-1])
        seen.update(map(id, tensors))
        parts += [FeaturePart(name, 0, output)] if len(new) == len(tensors) else new
    return parts


def build_distinct_taps(
    backbone: keras.Model, names: Sequence[str]
) -> tuple[keras.Model, dict[str, tuple[slice, ...]]]:
    """Builds a network from images to the globally pooled outputs of several layers, in which no channel is repeated.

    A concatenation repeats the channels of its inputs. DenseNet-121 has 35,296 channels in its taps, of which 3,840 are
    distinct.

    Returns:
        A network to float32 [n, distinct channels] that shares the backbone's layers, and by name the columns that are,
        joined, the channels of each layer.
    """
    pooled, starts, width = list[keras.KerasTensor](), dict[int, int](), 0
    columns = dict[str, tuple[slice, ...]]()
    for name in names:
        ranges = list[slice]()
        for tensor in _concatenated(backbone.get_layer(name).output):
            channels = int(tensor.shape[-1])
            if id(tensor) not in starts:
                pooling = keras.layers.GlobalAveragePooling2D(
                    dtype="float32", name=f"{producing_layer(tensor).name}_tap"
                )
                pooled.append(pooling(tensor))
                starts[id(tensor)], width = width, width + channels
            start = starts[id(tensor)]
            if ranges and ranges[-1].stop == start:  # one view of both
                start = ranges.pop().start
            ranges.append(slice(start, starts[id(tensor)] + channels))
        columns[name] = tuple(ranges)
    features = keras.layers.Concatenate(dtype="float32", name="taps")(pooled) if len(pooled) > 1 else pooled[0]
    return keras.Model(backbone.input, features, name=f"{backbone.name}_features"), columns


def _concatenated(tensor: keras.KerasTensor) -> list[keras.KerasTensor]:
    """Returns the tensors of which nested concatenations of channels make this one, in the order of their channels."""
    layer = producing_layer(tensor)
    if isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, len(tensor.shape) - 1):
        return [part for source in input_tensors(tensor) for part in _concatenated(source)]
    return [tensor]


def pooled_parts(network: keras.Model, pooling: str) -> list[keras.KerasTensor]:
    """Returns the pooled features [n, channels] that a network computes, one tensor for each part that it joins.

    Args:
        network: a network from images to predictions.
        pooling: name of the layer whose output the classifier reads.
    """
    tensor = input_of(network, pooling)
    return [network.get_layer(pooling).output] if len(tensor.shape) == 4 else input_tensors(tensor)


def last_activation(network: keras.Model, pooling: str) -> keras.KerasTensor:
    """Returns the activation [n, height, width, channels] of the deepest layer whose pooled output is read."""
    return input_of(network, str(producing_layer(pooled_parts(network, pooling)[-1]).name))


def pooled_features(network: keras.Model, names: TensorNames) -> keras.KerasTensor:
    """Returns the vector [n, channels] that stands for an image: what the classifier reads.

    A head that pools a class map reads the last activation itself; then it is the mean over its positions.
    """
    if not names.class_map:
        return network.get_layer(names.pooling).output
    mean = keras.layers.GlobalAveragePooling2D(dtype="float32", name="mean_features")
    return mean(last_activation(network, names.pooling))


def joining_layers(network: keras.Model, pooling: str) -> set[str]:
    """Returns the names of the layers that pool activations, join them and standardize the result."""
    inputs = {layer.name: tensors for layer, tensors in iter_layers(network)}
    found, pending = set[str](), [pooling]
    while pending:
        name = pending.pop()
        found.add(name)
        pending += [producing_layer(tensor).name for tensor in inputs[name] if len(tensor.shape) == 2]
    return found
