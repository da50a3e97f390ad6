"""Sample of a data set for drift detection: metadata of the images, and the scores and features of a model.

Every version stores a sample of its development data, so new images can be compared without access to that data.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.drift.image_ranges import COLOR_QUANTITIES, QUANTITIES, unknown_ranges
from radiograft.imaging.views import LATERAL
from radiograft.models.feature_layers import pooled_features
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES, ModelSpec, TensorNames
from radiograft.storage import npz_archive

MAX_SAMPLE = 1000
MAX_REFERENCE_IMAGES = 2 * MAX_SAMPLE  # from two splits
MAX_FLOAT16 = float(np.finfo(np.float16).max)
REFERENCE = "drift_reference.npz"

BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class ReferenceSample:
    """Sampled images; row i of every array except `labels` and `ranges` belongs to image i.

    Attributes:
        labels: (labels,) the model's label names.
        patients: int64 (n,) patient codes; patient ids are not stored.
        view, sex: (n,) text, empty if unknown.
        age: float32 (n,) years, NaN if unknown.
        scores: float32 (n, labels) probabilities; NaN for training images, on which the model is more confident than on
            new images.
        features: float16 (n, channels) input of the model's classifier; NaN for training images.
        ranges: float64 (4, 2), of RGB images (7, 2), see `image_ranges.measure_ranges`; NaN if unknown.
        inputs: (inputs,) names of the inputs of the network besides the frontal image, see `further_names`; empty if
            scores and features are of the frontal image alone, as in older versions.
    """

    labels: np.ndarray
    patients: np.ndarray
    view: np.ndarray
    sex: np.ndarray
    age: np.ndarray
    scores: np.ndarray
    features: np.ndarray
    ranges: np.ndarray = dataclasses.field(default_factory=unknown_ranges)
    inputs: np.ndarray = dataclasses.field(default_factory=lambda: np.array([], dtype=np.str_))

    def write(self, path: Path) -> None:
        """Writes a compressed .npz file of arrays without pickled objects."""
        np.savez_compressed(path, **{name: getattr(self, name) for name in (*KINDS, *LATER_KINDS)})

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Reads a file written by `write`. Pickled objects are never loaded.

        Raises:
            ValueError: if the content is malformed.
        """
        try:
            with npz_archive.open_npz_file(REFERENCE, io.BytesIO(content)) as archive:
                names = [*KINDS, *(name for name in LATER_KINDS if name in archive.names())]
                sample = cls(**{name: archive.read(name) for name in names})
            sample._check()
        except (ValueError, SystemError) as error:  # NumPy raises SystemError for text of length 0
            raise ValueError(f"{REFERENCE} must contain the arrays {', '.join(KINDS)}, got: {error}") from error
        return sample

    def _check(self) -> None:
        arrays = {name: getattr(self, name) for name in KINDS}
        later = {name: getattr(self, name) for name in LATER_KINDS}
        kinds = {name: (array.dtype.kind, array.ndim) for name, array in (arrays | later).items()}
        if kinds != KINDS | LATER_KINDS or self.ranges.shape not in ((len(QUANTITIES), 2), (len(COLOR_QUANTITIES), 2)):
            raise ValueError(f"unexpected kinds or dimensions {kinds}")
        text = [text for array in (self.labels, self.view, self.sex, self.inputs) for text in array.tolist()]
        "".join(text).encode()  # raises for unpaired surrogates
        images, shapes = len(self.patients), {name: array.shape for name, array in arrays.items()}
        same_length = all(len(array) == images for name, array in arrays.items() if name != "labels")
        if not same_length or images > MAX_REFERENCE_IMAGES or self.scores.shape[1] != len(self.labels):
            raise ValueError(f"shapes {shapes}, which do not match each other or exceed {MAX_REFERENCE_IMAGES} images")


KINDS = {  # name -> NumPy's kind (U text, i integer, f floating point) and number of dimensions
    "labels": ("U", 1), "patients": ("i", 1), "view": ("U", 1), "sex": ("U", 1), "age": ("f", 1), "scores": ("f", 2),
    "features": ("f", 2),
}  # fmt: skip

LATER_KINDS = {"ranges": ("f", 2), "inputs": ("U", 1)}  # older versions lack them


def draw_sample(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Draws the positions of at most MAX_SAMPLE rows uniformly at random; returns them in ascending order.

    Images are drawn rather than patients, because a model's metrics are measured over images. The tests account for
    the correlation between images of one patient.
    """
    generator = np.random.default_rng(seed)
    return np.sort(generator.permutation(len(rows))[:MAX_SAMPLE])


def describe_rows(
    rows: pd.DataFrame,
    labels: Sequence[str],
    scores: np.ndarray,
    features: np.ndarray,
    ranges: np.ndarray | None = None,
    inputs: Sequence[str] = (),
) -> ReferenceSample:
    """Builds a sample from catalog rows and the model's scores and features.

    Args:
        rows: rows with patient_id, view, sex and age; training images come last.
        labels: the model's label names.
        scores: [m, labels] probabilities of the first m rows.
        features: [m, channels] features of the first m rows.
        ranges: see `image_ranges.measure_ranges`; unknown by default.
        inputs: names of the inputs besides the frontal image.
    """
    padding = ((0, len(rows) - len(scores)), (0, 0))
    half = np.clip(features, -MAX_FLOAT16, MAX_FLOAT16).astype(np.float16)
    return ReferenceSample(
        labels=np.array(labels),
        patients=pd.factorize(rows["patient_id"])[0].astype(np.int64),
        view=_text(rows["view"]),
        sex=_text(rows["sex"]),
        age=rows["age"].to_numpy(np.float32, na_value=np.nan),
        scores=np.pad(np.asarray(scores, np.float32), padding, constant_values=np.nan),
        features=np.pad(half, padding, constant_values=np.nan),
        ranges=unknown_ranges() if ranges is None else ranges,
        inputs=np.array(inputs, dtype=np.str_),
    )


def further_names(spec: ModelSpec) -> list[str]:
    """Returns the names of the inputs of a network besides the frontal image: LATERAL, then its patient data."""
    return [LATERAL] * spec.lateral + [each.name for each in spec.covariates]


def _text(column: pd.Series[str]) -> np.ndarray:
    return np.array(column.astype("object").where(column.notna(), "").tolist(), dtype=np.str_)


class EmbeddingModel:
    """A published network that returns probabilities and the features of an image, see `pooled_features`."""

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        names: TensorNames = DEFAULT_NAMES,
    ) -> None:
        features = pooled_features(model, names)
        with strategy.scope():
            self._predictor = Predictor(keras.Model(model.input, [model.output, features]), strategy)

    def embed(self, batches: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Returns probabilities float32 [n, labels] and features float32 [n, channels] of all images, in order.

        Args:
            batches: inputs of the network: images, uint8 [batch, size, size, channels], or a tuple with further inputs.
        """
        scores, features = zip(*self._predictor.iter_batches(batches), strict=True)
        return np.concatenate(scores), np.concatenate(features)
