"""The crop of an attention-guided network: where the global branch responds most, cut from the image it was given.

Guan et al. 2018, AG-CNN: the heat map is the largest absolute activation over the channels of the last convolution,
scaled to 0..1. The box of the largest connected region above a threshold is cut out of the image and resized for the
local branch. All of this is one functional graph of operations that are built into Keras, so that a saved network needs
no code of this package.
"""

from __future__ import annotations

import math

import keras
import numpy as np
from keras import ops

from radiograft.models.keras_internals import iter_layers, producing_layer

THRESHOLD = 0.7  # AG-CNN
SHRUNK = "shrunk"  # layer whose output the global branch reads if images are stored at a larger size


def shrink(image: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """Shrinks images as preprocess resizes them, with antialiasing and rounding.

    Args:
        image: uint8 [n, stored size, stored size, channels].
        size: width and height of the result in pixels.

    Returns:
        uint8 [n, size, size, channels], the output of the layer SHRUNK.
    """
    given = keras.Input(image.shape[1:], dtype="uint8")
    resizing = keras.layers.Resizing(size, size, antialias=True, dtype="float32", name="shrink_resizing")
    resized = ops.cast(ops.round(resizing(ops.cast(given, "float32"))), "uint8")
    output = keras.layers.Identity(dtype="float32", name=SHRUNK)(resized)
    return insert(keras.Model(given, output), image, "shrink")


def branch_input(network: keras.Model) -> keras.KerasTensor:
    """Returns the image that the global branch reads, uint8 [n, size, size, channels]."""
    read = (tensor for _, inputs in iter_layers(network) for tensor in inputs)  # the layer may serve other graphs too
    return next((tensor for tensor in read if producing_layer(tensor).name == SHRUNK), network.input)


def insert(part: keras.Model, inputs: keras.KerasTensor | list[keras.KerasTensor], name: str) -> keras.KerasTensor:
    """Applies a network's operations to tensors of another graph, one by one, so that the graph stays flat.

    Operations that are no layers are renamed `<name>_<number>`: Keras numbers them from 0 in each process, so that they
    could have the names of others that were loaded from a file.
    """
    outputs = part.call(inputs)
    for number, operation in enumerate(keras.Model(inputs, outputs).operations):
        if not isinstance(operation, keras.Layer):
            operation.name = f"{name}_{number}"
    return outputs


def copy_network(part: keras.Model, prefix: str = "") -> keras.Model:
    """Returns a copy of a network with weights of its own, whose layers have `prefix` before their names."""

    def renamed(operation: keras.Operation) -> keras.Operation:
        config = operation.get_config()
        return type(operation).from_config({**config, "name": f"{prefix}{operation.name}"})

    copy = keras.models.clone_model(part, clone_function=renamed)
    for original, copied in zip(part.layers, copy.layers, strict=True):
        for old, new in zip(original.variables, copied.variables, strict=True):
            new.assign(old)
        copied.trainable = original.trainable
    return copy


def heat_map(activation: keras.KerasTensor) -> keras.KerasTensor:
    """Returns the largest absolute value over the channels, scaled to 0..1 in each image.

    Args:
        activation: [n, height, width, channels].

    Returns:
        float32 [n, height, width]; 0 everywhere if all values are equal.
    """
    heat = ops.max(ops.abs(ops.cast(activation, "float32")), axis=-1)
    low, high = (reduced(heat, axis=(1, 2), keepdims=True) for reduced in (ops.min, ops.max))
    return ops.divide_no_nan(heat - low, high - low)


def largest_region(heat: keras.KerasTensor, threshold: float = THRESHOLD) -> keras.KerasTensor:
    """Finds the largest region of edge-connected cells above a threshold, and returns its bounding box.

    Of equally large regions it is the one with the first cell in reading order, as in `scipy.ndimage.label`. Labels
    spread from each cell to its neighbors, then over twice the distance in each step.

    Args:
        heat: float32 [n, height, width], 0 to 1.

    Returns:
        float32 [n, 4]: x and y of the upper left corner, width, height, as fractions of the map. Without a cell above
        the threshold it is the whole map.
    """
    height, width = heat.shape[1:]
    flat = (-1, height * width)
    places = [ops.reshape(ops.cumsum(ops.ones_like(heat), axis=axis), flat) - 1 for axis in (2, 1)]  # columns, rows
    hot = ops.reshape(ops.cast(heat > threshold, "float32"), flat)
    distance = sum(ops.abs(ops.expand_dims(place, 2) - ops.expand_dims(place, 1)) for place in places)
    linked = ops.cast(distance <= 1, "float32") * ops.expand_dims(hot, 2) * ops.expand_dims(hot, 1)
    for _ in range(math.ceil(math.log2(max(height * width, 2)))):
        linked = ops.minimum(ops.matmul(linked, linked), 1.0)
    sizes = ops.sum(linked, axis=2)
    first = ops.one_hot(ops.argmax(sizes, axis=1), height * width, dtype="float32")
    region = ops.sum(linked * ops.expand_dims(first, 2), axis=1)
    inside = ops.logical_or(region > 0, ops.max(sizes, axis=1, keepdims=True) < 1)  # all cells if none is hot
    corners, lengths = [], []
    for place, side in zip(places, (width, height), strict=True):
        start = ops.min(ops.where(inside, place, float(side)), axis=1)
        corners.append(start / side)
        lengths.append((ops.max(ops.where(inside, place, -1.0), axis=1) + 1 - start) / side)
    return ops.stack([*corners, *lengths], axis=1)


def random_boxes(boxes: keras.KerasTensor, draws: keras.KerasTensor) -> keras.KerasTensor:
    """Returns boxes of the same size at random places.

    Args:
        boxes: float32 [n, 4]: x and y of the upper left corner, width, height; fractions of the image.
        draws: float32 [n, 2] in [0, 1).
    """
    _, sizes = ops.split(boxes, 2, axis=1)
    return ops.concatenate([draws * (1 - sizes), sizes], axis=1)


def cut(images: keras.KerasTensor, boxes: keras.KerasTensor, size: int) -> keras.KerasTensor:
    """Cuts boxes out of images and resizes them as preprocess resizes files: bilinear with antialiasing, rounded.

    Args:
        images: uint8 [n, side, side, channels].
        boxes: float32 [n, 4]: x and y of the upper left corner, width, height; fractions of the image.
        size: width and height of the result in pixels.

    Returns:
        uint8 [n, size, size, channels].
    """
    left, top, width, height = ops.split(boxes, 4, axis=1)
    columns, rows = (
        _resizing_weights(start, length, int(images.shape[1]), size) for start, length in ((left, width), (top, height))
    )
    resized = ops.einsum("nij,njkc->nikc", rows, ops.cast(images, "float32"))
    resized = ops.einsum("nlk,nikc->nilc", columns, resized)
    return ops.cast(ops.round(resized), "uint8")


def _resizing_weights(start: keras.KerasTensor, length: keras.KerasTensor, side: int, size: int) -> keras.KerasTensor:
    """Returns the weight of each of `side` pixels in each of `size` resized pixels, float32 [n, size, side].

    Args:
        start, length: float32 [n, 1], the part of the side that is resized.
    """
    scale = length * (side / size)
    centers = start * side + scale * (np.arange(size, dtype="float32") + 0.5) - 0.5
    offsets = ops.expand_dims(centers, 2) - np.arange(side, dtype="float32")
    weights = ops.relu(1 - ops.abs(offsets) / ops.expand_dims(ops.maximum(scale, 1.0), 2))
    return weights / ops.sum(weights, axis=2, keepdims=True)
