"""Predicts the images of an archive batch by batch on all devices, as they are and corrupted."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config.data_policy import DataPolicy
from radiograft.data.catalog import exclusion, prediction_frame
from radiograft.data.color import stored_modes
from radiograft.data.image_loader import decode_rows
from radiograft.data.shards.files import sort_for_reading
from radiograft.imaging.corruption_sets import CORRUPTIONS, SEVERITIES
from radiograft.imaging.corruptions import corrupt
from radiograft.models.lateral import has_lateral
from radiograft.models.predictor import Predictor
from radiograft.models.spec import ModelSpec
from radiograft.stages.preprocess.task import check_loaded_image
from radiograft.training.datasets import encode_rows

log = logging.getLogger(__name__)

BATCH_SIZE = 64


class Corrupted(NamedTuple):
    """Predictions for images with one corruption of one severity."""

    corruption: str
    severity: int
    predictions: pd.DataFrame


class ArchivePredictions(NamedTuple):
    """Predictions for the readable images of an archive.

    Attributes:
        rows: their catalog rows.
        predictions: rows with the columns of `prediction_frame`, in the same order.
        corrupted: predictions for the corrupted images, in the same order.
        excluded: image_id and reason of the images that were not predicted.
        modes: number of images by Pillow mode, of those that were converted for the model.
    """

    rows: pd.DataFrame
    predictions: pd.DataFrame
    corrupted: Sequence[Corrupted]
    excluded: pd.DataFrame
    modes: dict[str, int]


class _Sample(NamedTuple):
    """MD5 and pixels of an image, uint8 [size, size, channels], and encoded patient data if the model reads them."""

    md5: str
    pixels: np.ndarray
    patient: np.ndarray | None


class _Images:
    """Iterates over the usable images of catalog rows, and records which rows are used."""

    def __init__(self, rows: pd.DataFrame, spec: ModelSpec, policy: DataPolicy) -> None:
        self._rows, self._target, self._policy = rows, spec.image_input, policy
        self._further = encode_rows(rows, spec.covariates) if spec.covariates else None
        self.used: list[int] = []
        self.reasons: dict[str, str] = {}
        self.modes: Counter[str] = Counter()

    def __iter__(self) -> Iterator[_Sample]:
        """Yields the usable images in the order of the rows."""
        loaded_images = decode_rows(self._rows, self._target)
        for position, (row, loaded) in enumerate(zip(self._rows.itertuples(), loaded_images, strict=True)):
            status = check_loaded_image(loaded, self._policy, self._target)
            if status.look is None or loaded.image is None:
                self.reasons[str(row.image_id)] = status.reasons[0]
                continue
            self.used.append(position)
            self.modes[status.mode] += status.mode not in ("", *stored_modes(self._target.channels))
            yield _Sample(str(row.md5), loaded.image, None if self._further is None else self._further[position])


def predict_archive(
    rows: pd.DataFrame,
    labels: Sequence[str],
    spec: ModelSpec,
    predictor: Predictor,
    policy: DataPolicy,
    corruption_set: str = "",
    seed: int = 0,
) -> ArchivePredictions:
    """Decodes the images as the specification of the model says, checks and predicts them.

    At most one batch of images is in memory.

    Args:
        rows: catalog rows with the label columns.
        labels: the labels to evaluate, among those of the model.
        spec: specification of the model.
        predictor: the model.
        policy: how defects of images are handled.
        corruption_set: also predict the images with every corruption of this set; empty for none.
        seed: seed of the corruptions.

    Raises:
        FileNotFoundError, ValueError: an archive of images is missing or corrupt, or no image can be used.
    """
    rows = sort_for_reading(rows)
    images = _Images(rows, spec, policy)
    scores = [_predict_batch(batch, predictor, corruption_set, seed) for batch in _batches(iter(images))]
    if not scores:
        raise ValueError(f"the archive must hold images that can be used, got none of {len(rows)}")
    columns = [spec.labels.index(label) for label in labels]
    by_variant = np.concatenate(scores, axis=1)[..., columns]
    used = rows.iloc[images.used].reset_index(drop=True)
    clean, *corrupted = (prediction_frame(used, labels, each) for each in by_variant)
    excluded = [exclusion([image_id], reason) for image_id, reason in images.reasons.items()]
    return ArchivePredictions(
        used,
        clean,
        [Corrupted(*variant, frame) for variant, frame in zip(variants(corruption_set), corrupted, strict=True)],
        pd.concat([exclusion([], ""), *excluded], ignore_index=True),
        {mode: count for mode, count in images.modes.items() if count},
    )


def variants(corruption_set: str) -> list[tuple[str, int]]:
    """Returns name and severity of all corruptions of a set; none for an empty name."""
    return list(itertools.product(CORRUPTIONS[corruption_set], SEVERITIES)) if corruption_set else []


def _batches(images: Iterator[_Sample]) -> Iterator[list[_Sample]]:
    return iter(lambda: list(itertools.islice(images, BATCH_SIZE)), [])


def _predict_batch(batch: Sequence[_Sample], predictor: Predictor, corruption_set: str, seed: int) -> np.ndarray:
    """Returns float32 [1 + variants, images, labels]: the images as they are, then each variant."""
    patients = [sample.patient for sample in batch if sample.patient is not None]
    scores = [_predict(predictor, [sample.pixels for sample in batch], patients)]
    for name, severity in variants(corruption_set):
        parameter = CORRUPTIONS[corruption_set][name][severity - 1]
        changed = [corrupt(sample.pixels, name, parameter, sample.md5, seed) for sample in batch]
        scores.append(_predict(predictor, changed, patients))
    return np.stack(scores)


def _predict(predictor: Predictor, images: Sequence[np.ndarray], patients: Sequence[np.ndarray]) -> np.ndarray:
    pixels = np.stack(images)
    lateral = [np.zeros_like(pixels)] if has_lateral(predictor.model) else []  # archives are read image by image
    inputs = (pixels, *lateral, np.stack(patients)) if patients else pixels
    # `batch` leaves the number of images open, so that a smaller last batch does not retrace the graph.
    return predictor.predict(tf.data.Dataset.from_tensor_slices(inputs).batch(BATCH_SIZE))
