"""Layers of a backbone by name: cut-offs, where fine-tuning starts, and taps, whose pooled outputs are features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

import keras

from radiograft.backbones import BackboneSpec
from radiograft.config import AUTO_CUT_OFF, split_cut_offs
from radiograft.config.base import did_you_mean
from radiograft.config.training import FROZEN_BATCH_NORM, TRAINED_BATCH_NORM
from radiograft.models.graph import LATERAL_PREFIX, downstream_layers, layers_from, upstream_layers
from radiograft.models.keras_internals import input_tensors, producing_layer

MAX_CANDIDATES = 16


def candidate_cut_offs(network: keras.Model, backbone: BackboneSpec, head: Collection[str] = ()) -> list[str]:
    """Returns the layers that `model_cut_off=auto` tries, from the input to the output.

    They are the backbone's last convolution and its cut-offs on which that depends; at most the last MAX_CANDIDATES.
    The network may end at a feature layer and may have a classifier, whose layers are `head`.
    """
    last = last_convolution(network, head)
    names = {last, *upstream_layers(network, last).intersection(backbone.cut_offs)}
    return [layer.name for layer in network.layers if layer.name in names][-MAX_CANDIDATES:]


def parse_cut_offs(text: str, network: keras.Model, backbone: BackboneSpec, head: Collection[str] = ()) -> list[str]:
    """Parses `model_cut_off`: `auto`, a layer name, or several names separated by commas.

    Args:
        head: names of the network's layers after the pooled features.

    Returns:
        Layer names from the input to the output. Each layer depends on the one before.

    Raises:
        ValueError: a name is not a layer (the message suggests similar ones), occurs twice or leaves no weights of the
            backbone to train, or one cut-off does not depend on the one before.
    """
    names = candidate_cut_offs(network, backbone, head) if text == AUTO_CUT_OFF else split_cut_offs(text)
    for name in names:
        trainable_layers(network, name, head)
    cut_offs = [layer.name for layer in network.layers if layer.name in names]
    for shallower, deeper in itertools.pairwise(cut_offs):
        if deeper not in downstream_layers(network, shallower):
            raise ValueError(
                "model_cut_off must name layers that depend on each other, "
                f"got {deeper!r} in another branch than {shallower!r}"
            )
    return cut_offs


def last_convolution(model: keras.Model, head: Collection[str] = ()) -> str:
    """Returns the name of the last convolution of the frontal branch; for DenseNet-121 it is the default cut-off."""
    convolutions = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    names = [str(layer.name) for layer in model.layers if isinstance(layer, convolutions) and layer.name not in head]
    return [name for name in names if not name.startswith(LATERAL_PREFIX)][-1]


def check_cut_off(model: keras.Model, cut_off: str, head: Collection[str] = ()) -> None:
    """Raises an error if the cut-off is not a layer of the network.

    Raises:
        ValueError: the message suggests similar names and the last convolution.
    """
    names = [layer.name for layer in model.layers]
    if cut_off not in names:
        raise ValueError(
            f"model_cut_off must be a layer of {model.name}, got {cut_off!r}{did_you_mean(cut_off, names)} "
            f"(its last convolution is {last_convolution(model, head)!r})"
        )


def trainable_layers(model: keras.Model, cut_off: str, head: Collection[str] = ()) -> set[str]:
    """Returns the names of the layers that fine-tuning trains: the cut-off and all layers that depend on it.

    BatchNormalization layers are not among them; see `trainable_normalizations`.

    Args:
        head: names of the layers after the pooled features; training only these is not fine-tuning.

    Raises:
        ValueError: the cut-off is not a layer, or no weights of the backbone would be trained.
    """
    check_cut_off(model, cut_off, head)
    downstream = layers_from(model, cut_off)
    trained = [
        layer
        for layer in model.layers
        if layer.name in downstream and not isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not any(layer.weights for layer in trained if layer.name not in head):
        raise ValueError(
            f"model_cut_off must leave weights of the backbone to train, but there are none from {cut_off!r} on"
        )
    return {str(layer.name) for layer in trained}


def trainable_normalizations(model: keras.Model, cut_off: str) -> set[str]:
    """Returns the names of the BatchNormalization layers that depend on the cut-off.

    The standardization of joined features, which has no weights of its own, is not among them.
    """
    downstream = downstream_layers(model, cut_off)
    return {
        str(layer.name)
        for layer in model.layers
        if layer.name in downstream
        and isinstance(layer, keras.layers.BatchNormalization)
        and (layer.center or layer.scale)
    }


def unfreeze_from(
    model: keras.Model, cut_off: str, head: Collection[str] = (), *, batch_norm: str = FROZEN_BATCH_NORM
) -> int:
    """Makes the layers that `trainable_layers` returns trainable and freezes all others.

    A frozen BatchNormalization runs in inference mode, with the statistics of pretraining, which a small training set
    would ruin (keras-team/keras#9214).

    Args:
        head: names of the layers after the pooled features.
        batch_norm: `train` also makes the layers that `trainable_normalizations` returns trainable.

    Returns:
        Number of trainable weights (scalars).

    Raises:
        ValueError: as `trainable_layers`.
    """
    trained = trainable_layers(model, cut_off, head)
    if batch_norm == TRAINED_BATCH_NORM:
        trained |= trainable_normalizations(model, cut_off)
    model.trainable = True
    for layer in model.layers:
        layer.trainable = layer.name in trained
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def check_tap(backbone: BackboneSpec, name: str) -> None:
    """Raises an error if the feature layer is not one of the backbone's taps.

    Raises:
        ValueError: the message suggests similar names.
    """
    if name not in backbone.taps:
        raise ValueError(
            "model_feature_layer must be `auto`, `last`, `all` or blocks' last layers, "
            f"got {name!r}{did_you_mean(name, backbone.taps)}"
        )


def build_tap_model(backbone: keras.Model, names: Sequence[str]) -> keras.Model:
    """Builds a network from images to the globally pooled outputs of several layers.

    Returns:
        A network to float32 [n, sum of channels] that shares the backbone's layers; see `tap_widths`.
    """
    known: dict[int, keras.KerasTensor] = {}
    pooled = [_pool(backbone.get_layer(name).output, known) for name in names]
    features = keras.layers.Concatenate(dtype="float32", name="taps")(pooled) if len(pooled) > 1 else pooled[0]
    return keras.Model(backbone.input, features, name=f"{backbone.name}_features")


def _pool(tensor: keras.KerasTensor, known: dict[int, keras.KerasTensor]) -> keras.KerasTensor:
    """Pools the channels of a tensor globally.

    The inputs of a concatenation are pooled separately and only once, since DenseNet concatenates the same tensors in
    many layers.

    Args:
        tensor: output of a layer, [n, height, width, channels].
        known: pooled tensors by the ID of their source; new ones are added.
    """
    if id(tensor) not in known:
        layer = producing_layer(tensor)
        if isinstance(layer, keras.layers.Concatenate) and layer.axis in (-1, len(tensor.shape) - 1):
            parts = [_pool(part, known) for part in input_tensors(tensor)]
            known[id(tensor)] = keras.layers.Concatenate(dtype="float32", name=f"{layer.name}_tap")(parts)
        else:
            pooling = keras.layers.GlobalAveragePooling2D(dtype="float32", name=f"{layer.name}_tap")
            known[id(tensor)] = pooling(tensor)
    return known[id(tensor)]


def tap_widths(backbone: keras.Model, names: Sequence[str]) -> list[int]:
    """Returns the number of channels of each layer, in the order in which `build_tap_model` concatenates them."""
    return [int(backbone.get_layer(name).output.shape[-1]) for name in names]
