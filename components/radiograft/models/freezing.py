"""Cut-off layers: which layers fine-tuning trains and which stay frozen."""

from __future__ import annotations

import math

import keras

from radiograft.config.base import did_you_mean
from radiograft.models.graph import downstream_layers


def last_convolution(model: keras.Model) -> str:
    """Name of the last convolution; for DenseNet-121 the poster's cut-off."""
    convolutions = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)
    return str([layer.name for layer in model.layers if isinstance(layer, convolutions)][-1])


def check_cut_off(model: keras.Model, cut_off: str) -> None:
    """Refuses a cut-off that is not a layer of the network.

    Raises:
        ValueError: with the nearest names and the last convolution's.
    """
    names = [layer.name for layer in model.layers]
    if cut_off not in names:
        raise ValueError(
            f"model_cut_off must be a layer of {model.name}, got {cut_off!r}{did_you_mean(cut_off, names)} "
            f"(its last convolution is {last_convolution(model)!r})"
        )


def trainable_layers(model: keras.Model, cut_off: str) -> set[str]:
    """Names of the layers that fine-tuning from a cut-off trains: it and all computed from it but BatchNormalization.

    Raises:
        ValueError: no such layer, or none of the backbone's weights would be trained.
    """
    check_cut_off(model, cut_off)
    behind = downstream_layers(model, cut_off)
    trained = [
        layer
        for layer in model.layers
        if layer.name in behind and not isinstance(layer, keras.layers.BatchNormalization)
    ]
    if not any(layer.weights for layer in trained if not is_classifier(layer.name)):
        raise ValueError(
            f"model_cut_off must leave weights of the backbone to train, behind {cut_off!r} there are none"
        )
    return {str(layer.name) for layer in trained}


def unfreeze_from(model: keras.Model, cut_off: str) -> int:
    """Makes trainable the cut-off layer and every layer computed from it, and freezes the rest.

    BatchNormalization stays frozen everywhere: in Keras that also keeps it in inference mode, with the statistics of
    pretraining, which a small fine-tuning set would ruin (keras-team/keras#9214).

    Returns:
        Number of trainable weights (scalars).

    Raises:
        ValueError: no such layer, or nothing behind the cut-off can be trained.
    """
    trained = trainable_layers(model, cut_off)
    model.trainable = True
    for layer in model.layers:
        layer.trainable = layer.name in trained
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def is_classifier(name: str) -> bool:
    """Whether a layer of this name is one of `build_classifier`'s."""
    return name.startswith(("classifier_", "probabilities"))
