"""What a network is trained and judged on, images or activations, in batches that depend on the epoch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.training.activation_cache import CachedActivations


class TrainingData(NamedTuple):
    """What a network is trained and judged on.

    Attributes:
        batches: full batches of (inputs, labels) of the epochs given, on end; they depend on the epoch alone.
        steps: batches an epoch.
        image_ids: of the images in a step of an epoch, both counted from 0.
        truth: training labels float32 [images, labels], NaN where unknown.
        validation: batches of inputs in order; `validation_truth`: their labels.
    """

    batches: Callable[[range], tf.data.Dataset]
    steps: int
    image_ids: Callable[[int, int], list[str]]
    truth: np.ndarray
    validation: tf.data.Dataset
    validation_truth: np.ndarray


def data_from_images(data: Shards, batch_size: int, seed: int, replicas: int) -> TrainingData:
    """Images augmented anew in each epoch; validation images as they are.

    Raises:
        ValueError: see `steps_an_epoch`.
    """
    truth = data.truth("train")
    return TrainingData(
        batches=lambda epochs: data.training(batch_size, epochs, seed),
        steps=steps_per_epoch(len(truth), batch_size, replicas),
        image_ids=lambda epoch, step: data.training_ids(batch_size, epoch, step, seed),
        truth=truth,
        validation=data.images("validation", batch_size),
        validation_truth=data.truth("validation"),
    )


def data_from_activations(
    training: CachedActivations, validation: CachedActivations, batch_size: int, seed: int, replicas: int
) -> TrainingData:
    """What the frozen side of a network made of the images.

    Raises:
        ValueError: see `steps_an_epoch`.
    """
    return TrainingData(
        batches=lambda epochs: training.training(batch_size, epochs, seed),
        steps=steps_per_epoch(len(training.truth), batch_size, replicas),
        image_ids=lambda epoch, step: training.training_ids(batch_size, epoch, step, seed),
        truth=training.truth,
        validation=validation.in_order(batch_size),
        validation_truth=validation.truth,
    )


def steps_per_epoch(images: int, batch_size: int, replicas: int) -> int:
    """Whole batches in an epoch, each split evenly over the replicas of the model.

    Raises:
        ValueError: there is not one, or it does not split evenly.
    """
    if batch_size % replicas:
        raise ValueError(f"train_batch_size must be a multiple of the number of GPUs ({replicas}), got {batch_size}")
    if batch_size > images:
        raise ValueError(f"train_batch_size must be at most the number of training images ({images}), got {batch_size}")
    return images // batch_size
