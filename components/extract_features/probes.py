"""Linear probes: a regularised logistic regression for each candidate layer, label and penalty, all in one go."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

PENALTIES = (0.01, 0.1, 1.0)
BATCH = 1024
STEPS = 160
LEARNING_RATE = 0.2


@dataclasses.dataclass(frozen=True)
class Scaler:
    """Standardises features and lays them out by candidate.

    Attributes:
        columns: int [candidates, widest], where a candidate's features stand; beyond its width the index of a zero.
        mean, scale: float32 [sum of widths], from the training pictures.
    """

    columns: np.ndarray
    mean: np.ndarray
    scale: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Features [n, sum of widths] to standardised float32 [candidates, n, widest]."""
        standard = (np.asarray(rows, dtype="float32") - self.mean) * self.scale
        padded = np.pad(standard, [(0, 0), (0, 1)])
        return np.stack([padded[:, columns] for columns in self.columns])


@dataclasses.dataclass(frozen=True)
class Probes:
    """Weights [candidates, labels x penalties, widest] and biases [candidates, labels x penalties, 1], float32."""

    scaler: Scaler
    weights: np.ndarray
    biases: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities float32 [candidates, penalties, n, labels] for features [n, sum of widths]."""
        parts = []
        for start in range(0, len(features), BATCH):
            across = self.scaler(features[start : start + BATCH]).transpose(0, 2, 1)
            parts.append(ops.convert_to_numpy(ops.sigmoid(ops.matmul(self.weights, across) + self.biases)))
        flat = np.concatenate(parts, axis=2)
        by_penalty = flat.reshape(len(flat), -1, len(PENALTIES), flat.shape[2])
        return by_penalty.transpose(0, 2, 3, 1)


def fit(features: np.ndarray, truth: np.ndarray, widths: list[int], seed: int) -> Probes:
    """Minimises mean cross-entropy + penalty / 2 x |weights|^2 for every candidate, label and penalty at once.

    The problem is convex and its gradient known, so a step is one batched matrix product forward and one back.

    Args:
        features: float [n, sum of widths], the candidates' features side by side; may be memory-mapped.
        truth: float32 [n, labels], NaN where unknown: such a picture does not count for that label.
        widths: of each candidate.
    """
    scaler = _scaler(features, widths)
    models = truth.shape[1] * len(PENALTIES)
    penalties = np.tile(np.array(PENALTIES, dtype="float32"), truth.shape[1])[:, None]
    weights = keras.Variable(np.zeros((len(widths), models, max(widths)), dtype="float32"))
    biases = keras.Variable(np.zeros((len(widths), models, 1), dtype="float32"))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, STEPS))
    for batch in _batches(features, truth, scaler, seed):
        residual = (ops.sigmoid(ops.matmul(weights, batch.across) + biases) - batch.wanted) * batch.counted
        slopes = ops.matmul(residual, batch.inputs) + penalties * weights
        optimizer.apply([slopes, ops.sum(residual, axis=2, keepdims=True)], [weights, biases])
    return Probes(scaler, ops.convert_to_numpy(weights), ops.convert_to_numpy(biases))


class Batch(NamedTuple):
    """Inputs [candidates, n, widest] in both layouts, so that no step transposes them; truth and weight [models, n]."""

    inputs: Any
    across: Any
    wanted: np.ndarray
    counted: np.ndarray


def _batches(features: np.ndarray, truth: np.ndarray, scaler: Scaler, seed: int) -> Iterator[Batch]:
    """STEPS batches: all pictures every time where they fit in one, else as many as fit in turn."""
    random, order = np.random.default_rng(seed), np.arange(0)
    whole = _batch(features, truth, scaler) if len(features) <= BATCH else None
    for _ in range(STEPS):
        if whole is None and len(order) < BATCH:
            order = random.permutation(len(features))
        rows, order = np.sort(order[:BATCH]), order[BATCH:]
        yield whole or _batch(features[rows], truth[rows], scaler)


def _batch(features: np.ndarray, truth: np.ndarray, scaler: Scaler) -> Batch:
    inputs = scaler(features)
    wanted = np.repeat(truth, len(PENALTIES), axis=1).T
    known = ~np.isnan(wanted)
    counted = known / np.maximum(known.sum(axis=1, keepdims=True), 1)
    across = ops.convert_to_tensor(np.ascontiguousarray(inputs.transpose(0, 2, 1)))
    return Batch(ops.convert_to_tensor(inputs), across, np.where(known, wanted, 0.0), counted.astype("float32"))


def _scaler(features: np.ndarray, widths: list[int]) -> Scaler:
    """Layout by candidate; mean and deviation read batch by batch. A constant feature is scaled to zero."""
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(features), BATCH):
        rows = np.asarray(features[start : start + BATCH], dtype="float64")
        total += rows.sum(axis=0)
        squares += (rows**2).sum(axis=0)
    mean = total / len(features)
    deviation = np.sqrt(np.maximum(squares / len(features) - mean**2, 0.0))
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6)
    ends = np.cumsum(widths)
    columns = np.full((len(widths), max(widths)), features.shape[1])
    for row, (end, width) in enumerate(zip(ends, widths, strict=True)):
        columns[row, :width] = np.arange(end - width, end)
    return Scaler(columns, mean.astype("float32"), scale.astype("float32"))
