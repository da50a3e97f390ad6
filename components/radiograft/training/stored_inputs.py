"""Standardized inputs of linear probes that do not fit into memory: they are computed from stored rows when needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

ROWS_IN_MEMORY = 4096  # of the inputs of a probe; more rows are read again in every step


def row_slices(count: int) -> Iterator[slice]:
    """Yields consecutive slices of at most ROWS_IN_MEMORY rows."""
    return (slice(start, start + ROWS_IN_MEMORY) for start in range(0, count, ROWS_IN_MEMORY))


def moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and standard deviation of each channel, float64 [channels], for features [n, channels]."""
    slices = list(row_slices(len(features)))
    mean = sum(features[rows].sum(axis=0, dtype="float64") for rows in slices) / len(features)
    variance = sum(np.square(features[rows].astype("float32") - mean).sum(axis=0) for rows in slices) / len(features)
    return mean, np.sqrt(variance)


@dataclasses.dataclass(frozen=True)
class StoredInputs:
    """Features [n, channels], standardized by `mean` and `scale`, of some images; `center` is subtracted after that.

    Attributes:
        features: of all images, which may be memory-mapped.
        images: indices of those that count, int64 [n].
        mean, scale, center: float32 [channels].
    """

    features: np.ndarray
    images: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    center: np.ndarray | float = 0.0

    def __len__(self) -> int:
        return len(self.images)

    def parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields rows, and their inputs, float32 [rows, channels]."""
        for rows in row_slices(len(self.images)):
            values = self.features[self.images[rows]].astype("float32")
            values -= self.mean
            values *= self.scale
            yield rows, values - self.center

    def centered(self) -> StoredInputs:
        """Returns the same minus the mean of each channel."""
        total = sum(values.sum(axis=0, dtype="float64") for _, values in self.parts())
        return dataclasses.replace(self, center=(total / len(self)).astype("float32"))

    def covariances(self) -> np.ndarray:
        """Returns the products of the channels, averaged over the images, float32 [channels, channels]."""
        return np.asarray(sum(values.T @ values for _, values in self.parts()) / len(self), "float32")

    def times(self, weights: np.ndarray) -> np.ndarray:
        """Returns the product with weights [channels, outputs], float32 [n, outputs]."""
        return np.concatenate([values @ weights for _, values in self.parts()])

    def transposed_times(self, values: np.ndarray) -> np.ndarray:
        """Returns the product of the transposed inputs with values [n, outputs], float32 [channels, outputs]."""
        return np.asarray(sum(part.T @ values[rows] for rows, part in self.parts()))
