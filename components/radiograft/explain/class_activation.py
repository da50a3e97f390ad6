"""Grad-CAM and LayerCAM heat maps, computed on all devices, and their overlay on images.

Grad-CAM (Selvaraju et al. 2017) uses the last activation before pooling. LayerCAM (Jiang et al. 2021) uses the last
block with at least twice that resolution, which gives a finer map. If the classifier reads several layers, Grad-CAM
uses the deepest of them, and LayerCAM the gradient through its block and all later ones.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import matplotlib
import numpy as np
import tensorflow as tf
from keras import ops
from PIL import Image, ImageDraw

from radiograft.models.feature_layers import last_activation, pooled_parts
from radiograft.models.graph import downstream_layers, further_inputs, input_of
from radiograft.models.keras_internals import producing_layer
from radiograft.models.lateral import view_parts
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES, TensorNames

BATCH_SIZE = 32
COLORS = "inferno"  # perceptually uniform and safe for color blindness
OPACITY = 0.6  # at the maximum; regions without heat stay transparent
BOX_COLOR = (86, 180, 233)  # Okabe and Ito's sky blue, which does not occur in COLORS

Box = Sequence[float]  # x and y of the upper left corner, width, height; fractions of the image


class ActivationMaps(NamedTuple):
    """Heat maps of a batch of images for one label, each float32 [n, size, size].

    The maximum of each map is 1. A map without evidence for the label is 0 everywhere.
    """

    grad_cam: np.ndarray
    layer_cam: np.ndarray


class HeatMaps:
    """Computes heat maps of a published network. The graph is traced once.

    Args:
        model: the network, built in the scope of `strategy`.
        strategy: devices to compute on.
        names: names of the network's pooling and probability layers.
        blocks: names of the last layer of each block of the backbone, for LayerCAM.

    Attributes:
        cells: height and width of the activation that Grad-CAM uses.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        names: TensorNames = DEFAULT_NAMES,
        blocks: Sequence[str] = (),
    ) -> None:
        late = last_activation(model, names.pooling)
        self.cells: tuple[int, int] = late.shape[1:3]
        self._labels = int(model.output.shape[-1])
        with strategy.scope():
            self._predictor = Predictor(_activation_model(model, late, names, blocks), strategy)

    def grad_cam(self, images: np.ndarray, label: int) -> np.ndarray:
        """Returns the Grad-CAM maps of one label.

        Args:
            images: uint8 [n, size, size, channels].
            label: index of the label.

        Returns:
            float32 [n, size, size], 0 to 1.
        """
        batches = tf.data.Dataset.from_tensor_slices(images).batch(BATCH_SIZE)
        return np.concatenate([maps.grad_cam for maps in self.stream(batches, label)])

    def stream(self, batches: tf.data.Dataset, label: int) -> Iterator[ActivationMaps]:
        """Yields the Grad-CAM and LayerCAM maps of one label, batch by batch.

        Args:
            batches: uint8 [n, size, size, channels], for any n, or tuples of these and the network's further inputs,
                which are missing otherwise.
            label: index of the label.
        """
        one_hot = tf.one_hot(label, self._labels)

        def with_label(images: tf.Tensor, *further: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return images, tf.repeat(one_hot[None], tf.shape(images)[0], axis=0), *further

        inputs = batches.map(with_label)
        return (ActivationMaps(*parts) for parts in self._predictor.iter_batches(inputs))


class _ClassActivation(keras.layers.Layer):  # type: ignore[misc]
    """Computes the heat maps of the selected labels from the activation that LayerCAM uses.

    Gradients are those of the logit, because the gradients of sigmoid and softmax vanish for confident predictions. Up
    to its bias, the logit is the input of the last layer (`hidden`) times the kernel column of the label.
    """

    def __init__(self, middle: keras.Layer, head: keras.Model, last: keras.layers.Dense, size: int) -> None:
        super().__init__(dtype="float32", name="class_activation")
        self._middle, self._head, self._last, self._size = middle, head, last, size

    def call(self, inputs: Any) -> list[Any]:
        """Maps the early activation, one-hot float32 [n, labels], and what else the head reads, to the heat maps."""
        early, one_hot, *earlier = inputs
        with tf.GradientTape() as tape:
            tape.watch(early)
            late, *later = tf.nest.flatten(self._middle(early, training=False))
            hidden = ops.cast(self._head([late, *later, *earlier], training=False), "float32")
            logits = ops.sum(hidden * ops.matmul(one_hot, ops.transpose(self._last.kernel)))
        early_gradient, late_gradient = (
            ops.cast(gradient, "float32") for gradient in tape.gradient(logits, [early, late])
        )
        grad_cam = ops.sum(ops.mean(late_gradient, axis=(1, 2), keepdims=True) * ops.cast(late, "float32"), axis=-1)
        layer_cam = ops.sum(ops.relu(early_gradient) * early, axis=-1)
        return [class_activation(grad_cam, self._size), class_activation(layer_cam, self._size)]


def class_activation(evidence: Any, size: int) -> Any:
    """Drops negative evidence, resizes the map bilinearly to the image and scales it to a maximum of 1.

    Args:
        evidence: float32 [n, h, w].
        size: height and width of the image, pixels.

    Returns:
        float32 [n, size, size], 0 to 1.
    """
    heat = ops.image.resize(ops.relu(evidence)[..., None], (size, size), interpolation="bilinear")[..., 0]
    return ops.divide_no_nan(heat, ops.max(heat, axis=(1, 2), keepdims=True))


def _activation_model(
    model: keras.Model, late: keras.KerasTensor, names: TensorNames, blocks: Sequence[str]
) -> keras.Model:
    """Builds the model from images and one-hot labels to both heat maps; it shares the layers of `model`."""
    early, last = _finer_activation(model, late, blocks), model.get_layer(names.probabilities)
    hidden = input_of(model, names.probabilities)
    behind, others = downstream_layers(model, producing_layer(early).name), pooled_parts(model, names.pooling)[:-1]
    later = [pooled for pooled in others if producing_layer(pooled).name in behind]
    earlier = [pooled for pooled in others if producing_layer(pooled).name not in behind]
    middle = keras.layers.Identity() if early is late else keras.Model(early, [late, *later])
    image, *given = model.inputs
    lateral = view_parts(model, names.pooling)[len(others) + 1 :]
    further = [*lateral, *further_inputs(model)]
    head = keras.Model([late, *later, *earlier, *further], hidden)
    heat = _ClassActivation(middle, head, last, int(image.shape[1]))
    one_hot = keras.Input((int(model.output.shape[-1]),), name="chosen")
    return keras.Model([image, one_hot, *given], heat([early, one_hot, *earlier, *further]))


def _finer_activation(model: keras.Model, late: keras.KerasTensor, blocks: Sequence[str]) -> keras.KerasTensor:
    """Returns the output of the last block with at least twice the resolution of `late`, or `late` if none has it."""
    ends = [layer.output for layer in model.layers if layer.name in blocks]
    finer = [tensor for tensor in ends if len(tensor.shape) == 4 and tensor.shape[1] >= 2 * late.shape[1]]
    return finer[-1] if finer else late


def blend(image: np.ndarray, heat: np.ndarray | None, boxes: Sequence[Box] = (), side: int | None = None) -> np.ndarray:
    """Overlays a heat map and box outlines on an image.

    Args:
        image: uint8 [size, size] or [size, size, channels], gray or RGB.
        heat: float32 [size, size], 0 to 1, or None.
        boxes: boxes to outline.
        side: height and width of the result, pixels; by default those of the image.

    Returns:
        uint8 [side, side, 3].
    """
    color = np.broadcast_to(image.reshape(*image.shape[:2], -1), (*image.shape[:2], 3)).astype("float32")
    if heat is not None:
        opacity = OPACITY * heat[..., None]
        color = (1 - opacity) * color + opacity * 255 * matplotlib.colormaps[COLORS](heat)[..., :3]
    blended = Image.fromarray(color.round().astype("uint8"))
    if side:
        blended = blended.resize((side, side), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(blended)
    for box in boxes:
        x, y, width, height = (blended.width * fraction for fraction in box)
        draw.rectangle((x - 1, y - 1, x + width + 1, y + height + 1), outline="black")  # visible on white too
        draw.rectangle((x, y, x + width, y + height), outline=BOX_COLOR, width=max(1, blended.width // 80))
    return np.asarray(blended)


def overlay(image: np.ndarray, heat: np.ndarray, boxes: Sequence[Box] = ()) -> bytes:
    """Returns `blend` as an encoded PNG file."""
    content = io.BytesIO()
    Image.fromarray(blend(image, heat, boxes)).save(content, "PNG", optimize=True)
    return content.getvalue()
