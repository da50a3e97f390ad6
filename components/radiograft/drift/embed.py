"""What a model says of pictures: its probabilities, and the features from which its classifier computes them."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models.freezing import is_classifier
from radiograft.models.predictor import Predictor

BATCH_SIZE = 64


class Observer:
    """A published network with both of its outputs."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy) -> None:
        first = next(layer for layer in model.layers if is_classifier(layer.name))
        with strategy.scope():
            self._predictor = Predictor(keras.Model(model.input, [model.output, first.input]), strategy)

    def observe(self, batches: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float32 [n, labels] and features float32 [n, channels] of all pictures, in their order.

        Args:
            batches: uint8 [<= batch, size, size, 1].
        """
        scores, features = zip(*self._predictor.parts(batches), strict=True)
        return np.concatenate(scores), np.concatenate(features)


def chosen(data: Shards, split: str, positions: np.ndarray) -> tf.data.Dataset:
    """Batches of the pictures at these positions of a split, in stored order."""
    wanted = np.zeros(len(data.split(split)), bool)
    wanted[positions] = True
    marked = tf.data.Dataset.zip((data.examples(split), tf.data.Dataset.from_tensor_slices(wanted)))
    pictures = marked.filter(lambda _, chosen: chosen).map(lambda example, _: example[0])
    return pictures.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
