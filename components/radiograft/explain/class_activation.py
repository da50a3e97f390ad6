"""Where in an image a network finds the evidence for a label: Grad-CAM and LayerCAM, on all devices, and drawn.

Grad-CAM: Selvaraju et al. 2017, on the activation that is pooled. LayerCAM: Jiang et al. 2021, on the last block of
twice that resolution, whose map is finer.
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

from radiograft.models.graph import input_of
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES, TensorNames

BATCH_SIZE = 32
COLORS = "inferno"  # of even perceptual steps, also for the color-blind
OPACITY = 0.6  # of the hottest place; cold ones are transparent, so that the image stays what it is
BOX_COLOR = (86, 180, 233)  # Okabe and Ito's sky blue, which is none of COLORS

Box = Sequence[float]  # x, y of the upper left corner, width and height, fractions of the image


class ActivationMaps(NamedTuple):
    """Heat of a batch of images for one label, float32 [n, size, size] each: 1 at the hottest place, or 0 everywhere
    where nothing speaks for the label."""

    grad_cam: np.ndarray
    layer_cam: np.ndarray


class HeatMaps:
    """A published network's heat maps. Its graph is traced once.

    Attributes:
        cells: height and width of the activation that Grad-CAM weighs.
    """

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        names: TensorNames = DEFAULT_NAMES,
        blocks: Sequence[str] = (),
    ) -> None:
        pooled = input_of(model, names.pooling)
        self.cells: tuple[int, int] = pooled.shape[1:3]
        self._labels = int(model.output.shape[-1])
        with strategy.scope():
            self._predictor = Predictor(_activation_model(model, pooled, names, blocks), strategy)

    def of(self, images: np.ndarray, label: int) -> np.ndarray:
        """Grad-CAM for the label of this number, float32 [n, size, size], 0 to 1, of uint8 [n, size, size, 1]."""
        batches = tf.data.Dataset.from_tensor_slices(images).batch(BATCH_SIZE)
        return np.concatenate([maps.grad_cam for maps in self.stream(batches, label)])

    def stream(self, batches: tf.data.Dataset, label: int) -> Iterator[ActivationMaps]:
        """Both maps for the label of this number, batch by batch.

        Args:
            batches: uint8 [n, size, size, 1], of any n.
        """
        chosen = tf.one_hot(label, self._labels)
        asked = batches.map(lambda images: (images, tf.repeat(chosen[None], tf.shape(images)[0], axis=0)))
        return (ActivationMaps(*parts) for parts in self._predictor.parts(asked))


class _ClassActivation(keras.layers.Layer):  # type: ignore[misc]
    """Heat of the labels chosen, from the activation that LayerCAM weighs.

    The gradient is the logit's: the sigmoid's own would vanish where the network is sure. But for its bias the logit is
    the sum of what the last layer reads, `hidden`, weighted by the label's column of its kernel.
    """

    def __init__(self, middle: keras.Layer, head: keras.Model, last: keras.layers.Dense, size: int) -> None:
        super().__init__(dtype="float32", name="class_activation")
        self._middle, self._head, self._last, self._size = middle, head, last, size

    def call(self, inputs: Any) -> list[Any]:
        """[float32 [n, h, w, channels], one-hot float32 [n, labels]] to Grad-CAM and LayerCAM."""
        early, chosen = inputs
        with tf.GradientTape() as tape:
            tape.watch(early)
            late = self._middle(early, training=False)
            hidden = ops.cast(self._head(late, training=False), "float32")
            logits = ops.sum(hidden * ops.matmul(chosen, ops.transpose(self._last.kernel)))
        at_early, at_late = (ops.cast(slope, "float32") for slope in tape.gradient(logits, [early, late]))
        grad_cam = ops.sum(ops.mean(at_late, axis=(1, 2), keepdims=True) * ops.cast(late, "float32"), axis=-1)
        layer_cam = ops.sum(ops.relu(at_early) * early, axis=-1)
        return [class_activation(grad_cam, self._size), class_activation(layer_cam, self._size)]


def class_activation(evidence: Any, size: int) -> Any:
    """Evidence, float32 [n, h, w], without what speaks against the label, enlarged bilinearly to the image's size,
    float32 [n, size, size], and divided by its highest value."""
    heat = ops.image.resize(ops.relu(evidence)[..., None], (size, size), interpolation="bilinear")[..., 0]
    return ops.divide_no_nan(heat, ops.max(heat, axis=(1, 2), keepdims=True))


def _activation_model(
    model: keras.Model, late: keras.KerasTensor, names: TensorNames, blocks: Sequence[str]
) -> keras.Model:
    """[images, labels chosen] to both maps; shares the layers of `model`."""
    early, last = _finer_block(model, late, blocks), model.get_layer(names.probabilities)
    hidden = input_of(model, names.probabilities)
    middle = keras.layers.Identity() if early is late else keras.Model(early, late)
    heat = _ClassActivation(middle, keras.Model(late, hidden), last, int(model.input.shape[1]))
    chosen = keras.Input((int(model.output.shape[-1]),), name="chosen")
    return keras.Model([model.input, chosen], heat([early, chosen]))


def _finer_block(model: keras.Model, late: keras.KerasTensor, blocks: Sequence[str]) -> keras.KerasTensor:
    """The end of the last block whose activation is at least twice as high and wide as `late`; without any, `late`."""
    ends = [layer.output for layer in model.layers if layer.name in blocks]
    finer = [tensor for tensor in ends if len(tensor.shape) == 4 and tensor.shape[1] >= 2 * late.shape[1]]
    return finer[-1] if finer else late


def blend(image: np.ndarray, heat: np.ndarray | None, boxes: Sequence[Box] = (), side: int | None = None) -> np.ndarray:
    """An image under its heat, with outlines around boxes: uint8 [side, side, 3], as large as the image by default.

    Args:
        image: uint8 [size, size] or [size, size, 1].
        heat: float32 [size, size], 0 to 1, or None.
    """
    color = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=-1).astype("float32")
    if heat is not None:
        opacity = OPACITY * heat[..., None]
        color = (1 - opacity) * color + opacity * 255 * matplotlib.colormaps[COLORS](heat)[..., :3]
    film = Image.fromarray(color.round().astype("uint8"))
    if side:
        film = film.resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(film)
    for box in boxes:
        x, y, width, height = (film.width * fraction for fraction in box)
        pen.rectangle((x - 1, y - 1, x + width + 1, y + height + 1), outline="black")  # to be seen on white too
        pen.rectangle((x, y, x + width, y + height), outline=BOX_COLOR, width=max(1, film.width // 80))
    return np.asarray(film)


def overlay(image: np.ndarray, heat: np.ndarray, boxes: Sequence[Box] = ()) -> bytes:
    """`blend` as a PNG file."""
    content = io.BytesIO()
    Image.fromarray(blend(image, heat, boxes)).save(content, "PNG", optimize=True)
    return content.getvalue()
