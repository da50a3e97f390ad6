"""The networks of an attention-guided classifier, built around a trained network, the global branch.

The local branch is a copy of the network before fine-tuning, with weights of its own, which reads the crop. The fusion
classifier reads the pooled features of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from radiograft.models import attention
from radiograft.models.feature_layers import last_activation
from radiograft.models.graph_split import SplitModel
from radiograft.models.spec import TensorNames

LOCAL = "local_"  # prefix of the local branch's layers
CONTROL = "random_"  # prefix of the layers that are trained on random crops
RANDOM_PLACE = "crop_place"  # input of the networks with a random crop


class CropTensors(NamedTuple):
    """Tensors behind the global branch.

    Attributes:
        image: the stored image, uint8 [n, side, side, channels].
        pooled: pooled features of the global branch, float32 [n, features].
        boxes: of the crop, float32 [n, 4]; see `radiograft.models.attention.largest_region`.
        crop: what the local branch reads, uint8 [n, size, size, channels].
    """

    image: keras.KerasTensor
    pooled: keras.KerasTensor
    boxes: keras.KerasTensor
    crop: keras.KerasTensor


def find_crop(network: keras.Model, names: TensorNames) -> CropTensors:
    """Adds the crop to the graph of the global branch, whose layers it shares."""
    late = last_activation(network, names.pooling)
    given = keras.Input(late.shape[1:], dtype=late.dtype)
    region = attention.largest_region(attention.heat_map(given))
    boxes = attention.insert(keras.Model(given, region), late, "box")
    return CropTensors(network.input, network.get_layer(names.pooling).output, boxes, _cut(network, boxes, "crop"))


def find_random_crop(network: keras.Model, boxes: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Returns an input of uniform random numbers, float32 [n, 2], and a crop of the boxes' size at that place."""
    draws, given = keras.Input((2,), name=RANDOM_PLACE), (keras.Input((4,)), keras.Input((2,)))
    moved = attention.insert(keras.Model(given, attention.random_boxes(*given)), [boxes, draws], "random_box")
    return draws, _cut(network, moved, "random_crop")


def _cut(network: keras.Model, boxes: keras.KerasTensor, name: str) -> keras.KerasTensor:
    size = int(attention.branch_input(network).shape[1])
    image, box = keras.Input(network.input.shape[1:], dtype="uint8"), keras.Input((4,))
    return attention.insert(keras.Model([image, box], attention.cut(image, box, size)), [network.input, boxes], name)


def copy_branch(network: keras.Model, prefix: str) -> keras.Model:
    """Returns a copy of a network from the image that its backbone reads to predictions, with weights of its own."""
    return attention.copy_network(keras.Model(attention.branch_input(network), network.output), prefix)


def build_prefix(
    tensors: CropTensors, split: SplitModel, control: SplitModel | None, network: keras.Model
) -> keras.Model:
    """Builds the frozen layers that run once: from images to the global features and the frontier of the local branch.

    Args:
        tensors: of the global branch.
        split: the local branch.
        control: the branch that reads random crops; its frontier comes last, and the network has a second input, see
            `find_random_crop`.
        network: the global branch.
    """
    outputs = [tensors.pooled, *_as_list(attention.insert(split.prefix, tensors.crop, LOCAL.rstrip("_")))]
    if control is None:
        return keras.Model(tensors.image, outputs, name="crop_prefix")
    draws, crop = find_random_crop(network, tensors.boxes)
    outputs += _as_list(attention.insert(control.prefix, crop, CONTROL + "local"))
    return keras.Model([tensors.image, draws], outputs, name="crop_prefix")


def build_pooling(split: SplitModel, pooling: str) -> keras.Model:
    """Returns the layers from the frontier of a split branch to its pooled features."""
    merged = f"{pooling}_merged"  # of `radiograft.models.graph_split.pool_before_concat`
    names = {layer.name for layer in split.network.layers}
    pooled = split.network.get_layer(merged if merged in names else pooling).output
    return keras.Model(split.prefix.outputs, pooled, name=f"{split.network.name}_pooling")


def build_fusion(network: keras.Model, head: Sequence[str], pooling: str, prefix: str = "") -> keras.Model:
    """Builds the classifier of both pooled vectors: the global branch's head, widened.

    The weights of the local features are zero, so that it starts with the predictions of the global branch.

    Args:
        network: the trained global branch.
        head: names of its layers after the pooled features, a chain.
        pooling: name of its pooling layer.
        prefix: of the names of the layers.

    Returns:
        A network from two times float32 [n, features] to predictions.
    """
    width = int(network.get_layer(pooling).output.shape[-1])
    inputs = [keras.Input((width,), name=f"{prefix}{branch}_features") for branch in ("global", "local")]
    outputs = keras.layers.Concatenate(dtype="float32", name=f"{prefix}fused")(inputs)
    for layer in map(network.get_layer, head):
        copy = type(layer).from_config({**layer.get_config(), "name": prefix + layer.name})
        outputs = copy(outputs)
        for old, new in zip(layer.variables, copy.variables, strict=True):
            value = keras.ops.convert_to_numpy(old)
            missing = [(0, wide - narrow) for narrow, wide in zip(value.shape, new.shape, strict=True)]
            new.assign(np.pad(value, missing))
    return keras.Model(inputs, outputs, name=f"{prefix}fusion")


def pool_crop(local: keras.Model, crop: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    """Returns the pooled features that a local branch computes from a crop."""
    features = keras.Model(local.input, local.get_layer(pooling).output)
    return attention.insert(features, crop, pooling)


def build_fused(tensors: CropTensors, local: keras.Model, fusion: keras.Model, pooling: str, name: str) -> keras.Model:
    """Returns one flat network from images to the predictions of the fusion classifier, with weights of its own.

    A copy, because Keras does not save networks of layers that several graphs share.
    """
    pooled = pool_crop(local, tensors.crop, f"{LOCAL}{pooling}")
    outputs = attention.insert(fusion, [tensors.pooled, pooled], "fusion")
    return attention.copy_network(keras.Model(tensors.image, outputs, name=name))


def _as_list(tensors: keras.KerasTensor | list[keras.KerasTensor]) -> list[keras.KerasTensor]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]
