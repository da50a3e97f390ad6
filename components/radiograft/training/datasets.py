"""Training and validation data of a network: batches of images or of cached activations."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config import Training
from radiograft.config.patient_data import covariate_column
from radiograft.data.shards.dataset import Shards
from radiograft.imaging.views import FRONTAL, LATERAL
from radiograft.models.covariates import PATIENT_INPUT, Covariate, encode_covariates
from radiograft.training.activation_cache import CachedActivations

log = logging.getLogger(__name__)


class TrainingData(NamedTuple):
    """Training and validation data.

    Attributes:
        batches: returns full batches of (inputs, labels) for consecutive epochs; a batch depends only on the epoch and
            its position.
        steps: batches per epoch.
        image_ids: returns the IDs of the images in a batch, given the epoch and the step, both counted from 0.
        truth: training labels, float32 [images, labels], 0 to 1, NaN where unknown.
        validation: batches of validation inputs, in order.
        validation_truth: validation labels, like `truth`.
    """

    batches: Callable[[range], tf.data.Dataset]
    steps: int
    image_ids: Callable[[int, int], list[str]]
    truth: np.ndarray
    validation: tf.data.Dataset
    validation_truth: np.ndarray


def encode_rows(rows: pd.DataFrame, covariates: Sequence[Covariate]) -> np.ndarray:
    """Returns the encoded patient data of catalog rows, see `encode_covariates`.

    A column that the catalog does not have is missing for all images.
    """
    nothing = pd.Series(None, rows.index, "string")
    values = {
        each.name: rows.get(covariate_column(each.name), nothing.astype("Float64") if each.is_numeric else nothing)
        for each in covariates
    }
    return encode_covariates(covariates, values)


def with_patient_data(data: Shards, covariates: Sequence[Covariate]) -> Shards:
    """Returns the shards with encoded patient data as a further input; without covariates the shards themselves."""
    if not covariates:
        return data
    return dataclasses.replace(data, further={PATIENT_INPUT: encode_rows(data.rows, covariates)})


def with_views(data: Shards, lateral: bool) -> Shards:
    """Returns the shards with both images of each study if the network reads them; see `Shards.roles`."""
    return dataclasses.replace(data, roles=(FRONTAL, LATERAL)) if lateral else data


def fit_covariates(data: Shards, names: Sequence[str]) -> tuple[Covariate, ...]:
    """Returns the encodings of these columns, fitted on the training images.

    Raises:
        ValueError: the catalog does not have a column, or as `Covariate.fit`.
    """
    rows = data.split("train")
    missing = [name for name in names if covariate_column(name) not in rows]
    if missing:
        raise ValueError(
            f"model_patient_data must name columns of the catalog, got {', '.join(missing)}: add it to data_covariates"
        )
    return tuple(Covariate.fit(name, rows[covariate_column(name)]) for name in names)


def data_from_images(data: Shards, batch_size: int, seed: int, replicas: int) -> TrainingData:
    """Returns images: augmented in each epoch for training, without augmentation for validation.

    Raises:
        ValueError: as `steps_per_epoch`.
    """
    truth = data.split_targets("train")
    return TrainingData(
        batches=lambda epochs: data.training(batch_size, epochs, seed),
        steps=steps_per_epoch(len(truth), batch_size, replicas),
        image_ids=lambda epoch, step: data.training_ids(batch_size, epoch, step, seed),
        truth=truth,
        validation=data.inputs("validation", batch_size),
        validation_truth=data.split_targets("validation"),
    )


def data_from_activations(
    training: CachedActivations, validation: CachedActivations, batch_size: int, seed: int, replicas: int
) -> TrainingData:
    """Returns cached activations instead of images.

    Raises:
        ValueError: as `steps_per_epoch`.
    """
    return TrainingData(
        batches=lambda epochs: training.training(batch_size, epochs, seed),
        steps=steps_per_epoch(len(training.truth), batch_size, replicas),
        image_ids=lambda epoch, step: training.training_ids(batch_size, epoch, step, seed),
        truth=training.truth,
        validation=validation.in_order(batch_size),
        validation_truth=validation.truth,
    )


SettingsT = TypeVar("SettingsT", bound=Training)


def fit_batch_size(settings: SettingsT, images: int, replicas: int) -> SettingsT:
    """Returns the settings with a batch of at most the training set, and logs a warning if the batch is lowered.

    Args:
        settings: `train_batch_size` may be lowered.
        images: number of training images.
        replicas: number of GPUs, by which a lowered batch can be divided.

    Raises:
        ValueError: as `steps_per_epoch`.

    Example:
        >>> fit_batch_size(Training(train_batch_size=32), images=31, replicas=2).train_batch_size
        30
    """
    batch_size = settings.train_batch_size
    if batch_size > images >= replicas:
        settings = dataclasses.replace(settings, train_batch_size=images - images % replicas)
        log.warning(
            "train_batch_size is lowered from %d to %d, since there are %d training images",
            batch_size, settings.train_batch_size, images,
        )  # fmt: skip
    steps_per_epoch(images, settings.train_batch_size, replicas)
    return settings


def steps_per_epoch(images: int, batch_size: int, replicas: int) -> int:
    """Returns the number of full batches in an epoch.

    Raises:
        ValueError: a batch is larger than the training set, or cannot be divided evenly among the replicas.

    Example:
        >>> steps_per_epoch(100, batch_size=32, replicas=2)
        3
    """
    if batch_size % replicas:
        raise ValueError(f"train_batch_size must be a multiple of the number of GPUs ({replicas}), got {batch_size}")
    if batch_size > images:
        raise ValueError(f"train_batch_size must be at most the number of training images ({images}), got {batch_size}")
    return images // batch_size
