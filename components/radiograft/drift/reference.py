"""Images drawn from a data set: what is known of them and what a model says of them, all that drift looks at.

A version keeps such a sample of its own data, so that later images can be compared with it where the data are not.
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

from radiograft.data.shards.dataset import Shards
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES, TensorNames
from radiograft.storage import npz_archive

MAX_SAMPLE = 1000
MAX_REFERENCE_BYTES = 2 * MAX_SAMPLE  # of two splits
MAX_FLOAT16 = float(np.finfo(np.float16).max)
REFERENCE = "drift_reference.npz"

BATCH_SIZE = 64


@dataclasses.dataclass(frozen=True)
class ReferenceSample:
    """Row i of every array is image i.

    Attributes:
        labels: (labels,) names of the model's labels.
        patients: int64 (n,) patients by number; ids are not kept.
        view, sex: (n,) text, empty where the data do not tell.
        age: float32 (n,) years, NaN where the data do not tell.
        scores: float32 (n, labels) the model's probabilities; NaN for images that it was fitted to, because it is
            surer of them than of any others.
        features: float16 (n, channels) what the model's classifier is given; NaN for the same images.
    """

    labels: np.ndarray
    patients: np.ndarray
    view: np.ndarray
    sex: np.ndarray
    age: np.ndarray
    scores: np.ndarray
    features: np.ndarray

    def write(self, path: Path) -> None:
        """Writes a compressed .npz file of plain arrays."""
        np.savez_compressed(path, **{name: getattr(self, name) for name in KINDS})

    @classmethod
    def read(cls, content: bytes) -> Self:
        """Reads what `write` wrote; pickled objects are never loaded.

        Raises:
            ValueError: the content is something else.
        """
        try:
            with npz_archive.open_npz_file(REFERENCE, io.BytesIO(content)) as archive:
                found = cls(**{name: archive.read(name) for name in KINDS})
            found._check()
        except (ValueError, SystemError) as error:  # the latter is NumPy's, for text of no characters
            raise ValueError(f"{REFERENCE} must hold arrays {', '.join(KINDS)}, got: {error}") from error
        return found

    def _check(self) -> None:
        arrays = {name: getattr(self, name) for name in KINDS}
        kinds = {name: (array.dtype.kind, array.ndim) for name, array in arrays.items()}
        if kinds != KINDS:
            raise ValueError(f"other kinds or dimensions, {kinds}")
        text = [*self.labels.tolist(), *self.view.tolist(), *self.sex.tolist()]
        "".join(text).encode()  # raises for halves of characters
        images, shapes = len(self.patients), {name: array.shape for name, array in arrays.items()}
        alike = all(len(array) == images for name, array in arrays.items() if name != "labels")
        if not alike or images > MAX_REFERENCE_BYTES or self.scores.shape[1] != len(self.labels):
            raise ValueError(f"shapes that do not belong to at most {MAX_REFERENCE_BYTES} images, {shapes}")


KINDS = {  # of each array what NumPy calls its kind (text, whole numbers, floating point), and its dimensions
    "labels": ("U", 1), "patients": ("i", 1), "view": ("U", 1), "sex": ("U", 1), "age": ("f", 1), "scores": ("f", 2),
    "features": ("f", 2),
}  # fmt: skip


def draw_sample(rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Positions of at most LARGEST_SAMPLE rows, ascending, each image as likely as any other.

    Images are drawn and not patients, because it is over images that a model's figures are measured; that those of
    one patient are alike is left to the tests.
    """
    generator = np.random.default_rng(seed)
    return np.sort(generator.permutation(len(rows))[:MAX_SAMPLE])


def describe_rows(
    rows: pd.DataFrame, labels: Sequence[str], scores: np.ndarray, features: np.ndarray
) -> ReferenceSample:
    """A sample from a catalog's rows and what the model says of the first of them.

    Args:
        rows: with patient_id, view, sex and age; images that the model was fitted to stand last.
        scores: [m <= rows, labels] probabilities.
        features: [m, channels].
    """
    unseen = ((0, len(rows) - len(scores)), (0, 0))
    half = np.clip(features, -MAX_FLOAT16, MAX_FLOAT16).astype(np.float16)
    return ReferenceSample(
        labels=np.array(labels),
        patients=pd.factorize(rows["patient_id"])[0].astype(np.int64),
        view=_text(rows["view"]),
        sex=_text(rows["sex"]),
        age=rows["age"].to_numpy(np.float32, na_value=np.nan),
        scores=np.pad(np.asarray(scores, np.float32), unseen, constant_values=np.nan),
        features=np.pad(half, unseen, constant_values=np.nan),
    )


def _text(column: pd.Series[str]) -> np.ndarray:
    return np.array(column.astype("object").where(column.notna(), "").tolist(), dtype=np.str_)


class EmbeddingModel:
    """A published network with both of its outputs."""

    def __init__(
        self,
        model: keras.Model,
        strategy: tf.distribute.Strategy,
        names: TensorNames = DEFAULT_NAMES,
    ) -> None:
        features = model.get_layer(names.pooling).output
        with strategy.scope():
            self._predictor = Predictor(keras.Model(model.input, [model.output, features]), strategy)

    def observe(self, batches: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities float32 [n, labels] and features float32 [n, channels] of all images, in their order.

        Args:
            batches: uint8 [<= batch, size, size, 1].
        """
        scores, features = zip(*self._predictor.parts(batches), strict=True)
        return np.concatenate(scores), np.concatenate(features)


def choose_rows(data: Shards, split: str, positions: np.ndarray) -> tf.data.Dataset:
    """Batches of the images at these positions of a split, in stored order."""
    wanted = np.zeros(len(data.split(split)), bool)
    wanted[positions] = True
    marked = tf.data.Dataset.zip((data.examples(split), tf.data.Dataset.from_tensor_slices(wanted)))
    images = marked.filter(lambda _, chosen: chosen).map(lambda example, _: example[0])
    return images.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
