"""The distribution of a network's pooled features, and the distance of an image from it.

The distance is Mahalanobis's, from the mean of the training images with their covariance (Lee et al. 2018, with one
distribution for all labels). An image is flagged if its distance exceeds a percentile of the validation images.
"""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from radiograft.models.spec import OOD_FILE
from radiograft.storage import npz_archive

MAX_FITTED = 10_000  # images, drawn at random, so that the memory for the covariance stays below 0.5 GB
MIN_DEVIATION = (
    0.1  # of the root mean square deviation, so that a channel that is constant in training does not dominate
)
RIDGE = 1e-6  # of the variance of a standardized channel; keeps the covariance of constant features invertible
ARRAYS = ("mean", "whitening", "threshold", "percentile")


@dataclasses.dataclass(frozen=True)
class FeatureDistribution:
    """Mean and covariance of pooled features, and the distance above which an image is flagged.

    Attributes:
        mean: float32 [channels].
        whitening: float32 [channels, channels]; the product with its transpose is the inverse of the covariance.
        threshold: the percentile of the distances of validation images.
        percentile: 0 to 100.
    """

    mean: np.ndarray
    whitening: np.ndarray
    threshold: float
    percentile: float

    def distances(self, features: Any) -> tf.Tensor:
        """Returns the distance of each image, float32 [n], from its features, float32 [n, channels].

        Example:
            >>> unit = FeatureDistribution(np.zeros(2, "float32"), np.eye(2, dtype="float32"), 4.0, 99.0)
            >>> unit.distances(np.float32([[3, 4], [0, 1]])).numpy().tolist()
            [5.0, 1.0]
        """
        return tf.norm(tf.matmul(tf.cast(features, tf.float32) - self.mean, self.whitening), axis=1)

    def write(self, folder: Path) -> None:
        """Writes out_of_distribution.npz to `folder`."""
        arrays: dict[str, Any] = dataclasses.asdict(self)
        np.savez_compressed(folder / OOD_FILE, **arrays)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads what `write` wrote; None if the folder has no such file.

        Raises:
            ValueError: the file is malformed.
        """
        path = folder / OOD_FILE
        if not path.exists():
            return None
        try:
            with npz_archive.open_npz_file(OOD_FILE, io.BytesIO(path.read_bytes())) as archive:
                mean, whitening, threshold, percentile = (archive.read(name) for name in ARRAYS)
            return cls(mean, whitening, float(threshold), float(percentile))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{OOD_FILE} must hold the arrays {', '.join(ARRAYS)}: {error}") from error


def draw_fitted(images: int, seed: int) -> np.ndarray:
    """Returns the positions of the training images to fit on, ascending: all, or MAX_FITTED drawn at random."""
    return np.sort(np.random.default_rng(seed).permutation(images)[:MAX_FITTED])


def fit_distribution(training: np.ndarray, validation: np.ndarray, percentile: float) -> FeatureDistribution:
    """Fits mean and covariance on training features, and chooses the threshold on validation.

    Training images lie closer to the mean than new images, since it was fitted on them. The covariance of the
    standardized channels is shrunk towards a diagonal matrix (Ledoit and Wolf 2004), so that there may be fewer images
    than channels.

    Args:
        training: float [images, channels] of the images that `draw_fitted` chooses.
        validation: float [images, channels].
        percentile: of the distances of validation images that the threshold is, 0 to 100.
    """
    from sklearn.covariance import LedoitWolf  # slow to import, and only fitting needs it

    fitted = training.astype("float64")
    mean, variance = fitted.mean(axis=0), fitted.var(axis=0)
    deviation = np.sqrt(np.maximum(variance, MIN_DEVIATION**2 * variance.mean() or 1.0))
    covariance = LedoitWolf(assume_centered=True).fit((fitted - mean) / deviation).covariance_
    covariance += RIDGE * np.eye(len(covariance))
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)).T / deviation[:, None]
    unbounded = FeatureDistribution(mean.astype("float32"), whitening.astype("float32"), np.inf, percentile)
    threshold = float(np.percentile(unbounded.distances(validation).numpy(), percentile))
    return dataclasses.replace(unbounded, threshold=threshold)
