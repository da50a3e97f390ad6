"""Linear probes: a regularized logistic regression for each candidate layer, label and penalty, solved exactly.

All penalties of a layer, and all labels that most images tell, are solved together, a layer at a time: a layer's
images fit into the processor's cache, where all layers side by side would be read from memory at every step.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import numpy as np
from keras import ops

log = logging.getLogger(__name__)


PENALTIES = (0.01, 0.1, 1.0)
MAX_STEPS = 300  # at most; twenty or thirty suffice
TOLERANCE = 1e-4  # logits: a step that moves the scores less is the last
MIN_LABELED_FRACTION = 0.9  # of all images: a label that fewer tell is solved on these alone
MIN_VARIANCE = 1e-5  # of a principal axis, as part of the largest: below it float32 sees noise


@dataclasses.dataclass(frozen=True)
class Probe:
    """One layer's models: `weights` [channels, labels x penalties] for features less their `mean` [channels]."""

    mean: np.ndarray
    weights: np.ndarray
    biases: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities float32 [penalties, n, labels] for features [n, channels]."""
        centered = np.asarray(features, dtype="float32") - self.mean
        scores: np.ndarray = ops.convert_to_numpy(ops.sigmoid(ops.matmul(centered, self.weights) + self.biases))
        return scores.reshape(len(features), -1, len(PENALTIES)).transpose(2, 0, 1)


@dataclasses.dataclass(frozen=True)
class Probes:
    """The probes of all candidates, `widths` channels each."""

    widths: list[int]
    layers: list[Probe]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probabilities float32 [candidates, penalties, n, labels] for features [n, sum of widths]."""
        parts = _by_layer(features, self.widths)
        return np.stack([probe.predict(part) for probe, part in zip(self.layers, parts, strict=True)])


def fit_probes(features: np.ndarray, truth: np.ndarray, widths: list[int]) -> Probes:
    """Minimizes mean cross-entropy + penalty / 2 x |weights|^2 on standardized features.

    Args:
        features: float [n, sum of widths], the candidates' features side by side; may be memory-mapped, for a layer
            at a time is read.
        truth: float32 [n, labels], NaN where unknown: such an image does not count for that label.
        widths: of each candidate.
    """
    return Probes(widths, [_fit(part, truth) for part in _by_layer(features, widths)])


def _by_layer(features: np.ndarray, widths: list[int]) -> list[np.ndarray]:
    return np.split(features, np.cumsum(widths)[:-1], axis=1)


def _fit(features: np.ndarray, truth: np.ndarray) -> Probe:
    """One layer; a constant feature is scaled to zero."""
    inputs = np.asarray(features, dtype="float32")
    mean, deviation = inputs.mean(axis=0, dtype="float64").astype("float32"), inputs.std(axis=0, dtype="float64")
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6).astype("float32")
    inputs = (inputs - mean) * scale
    weights = np.zeros((inputs.shape[1], truth.shape[1], len(PENALTIES)), dtype="float32")
    biases = np.repeat(_prior(truth)[:, None], len(PENALTIES), axis=1)
    for images, labels in _problems(truth):
        weights[:, labels], biases[labels] = _solve(inputs[images], truth[images][:, labels])
    return Probe(mean, scale[:, None] * weights.reshape(len(weights), -1), biases.ravel())


def _prior(truth: np.ndarray) -> np.ndarray:
    """Logits float32 [labels] of how often each is present, of which half an image more has it and half a one has not
    (Krichevsky and Trofimov 1981): finite for labels of one class, even where nothing is known."""
    present, absent = (truth > 0.5).sum(axis=0) + 0.5, (truth <= 0.5).sum(axis=0) + 0.5
    logits: np.ndarray = np.log(present / absent).astype("float32")
    return logits


def _problems(truth: np.ndarray) -> Iterator[tuple[np.ndarray | slice, np.ndarray]]:
    """Images and labels to be solved together: on all images what most of them tell, on its own what few do.

    On axes of all images, the few would be far from uncorrelated, and the way long. A label of one class has no
    optimum: its bias would grow without end.
    """
    known = ~np.isnan(truth)
    able, most = (truth > 0.5).any(axis=0) & (truth <= 0.5).any(axis=0), known.mean(axis=0) >= MIN_LABELED_FRACTION
    if (able & most).any():
        yield slice(None), np.flatnonzero(able & most)
    for label in np.flatnonzero(able & ~most):
        yield known[:, label], np.array([label])


def _solve(inputs: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights [channels, labels, penalties] and biases [labels, penalties] for inputs as they are."""
    mean = inputs.mean(axis=0)
    centered = inputs - mean
    axes, variances = _principal_axes(centered)
    rotated = np.pad(ops.convert_to_numpy(ops.matmul(centered, axes)), [(0, 0), (0, 1)], constant_values=1.0)
    found = _minimize(rotated, np.append(variances, np.float32(1)), truth)
    weights = ops.convert_to_numpy(ops.matmul(axes, found[:-1]))
    biases = found[-1] - mean @ weights
    return weights.reshape(len(weights), -1, len(PENALTIES)), biases.reshape(-1, len(PENALTIES))


def _principal_axes(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal axes [channels, axes] along which the images [n, channels] vary, and how much: at most n.

    The penalty is the same in these coordinates, and weights outside of them only cost.
    """
    wide = inputs.shape[0] < inputs.shape[1]
    products = ops.matmul(inputs, inputs.T) if wide else ops.matmul(inputs.T, inputs)
    variances, vectors = (ops.convert_to_numpy(part) for part in ops.eigh(products / len(inputs)))
    kept = variances > MIN_VARIANCE * variances[-1]
    variances, vectors = variances[kept], vectors[:, kept]
    if wide:
        vectors = ops.convert_to_numpy(ops.matmul(inputs.T, vectors / np.sqrt(len(inputs) * variances)))
    return vectors, variances


def _minimize(inputs: np.ndarray, variances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Weights [axes + 1, labels x penalties] for inputs of uncorrelated columns, the last of them the ones of a bias.

    The curvature of the loss is at most a quarter of the columns' variances (Böhning and Lindsay 1988), so that
    dividing a slope by this bound never steps too far. Momentum speeds it up, and begins anew where it leads uphill
    (O'Donoghue and Candès 2015).
    """
    wanted = np.repeat(truth, len(PENALTIES), axis=1)
    known = ~np.isnan(wanted)
    share = (1 / known.sum(axis=0)).astype("float32")
    wanted, counted = np.where(known, wanted, 0.0), known * share
    ridge = np.outer(np.ones_like(variances), np.tile(np.array(PENALTIES, dtype="float32"), truth.shape[1]))
    ridge[-1] = 0.0
    bound = len(truth) * share * variances[:, None] / 4 + ridge
    inputs, across = ops.convert_to_tensor(inputs), ops.convert_to_tensor(np.ascontiguousarray(inputs.T))
    position: np.ndarray = np.zeros_like(bound)
    ahead, age = position, np.ones_like(bound[0])
    for _ in range(MAX_STEPS):
        residual = (ops.sigmoid(ops.matmul(inputs, ahead)) - wanted) * counted
        slopes = ops.convert_to_numpy(ops.matmul(across, residual)) + ridge * ahead
        reached = ahead - slopes / bound
        move = reached - position
        age = np.where((slopes * move).sum(axis=0) > 0, np.float32(1), age)
        older = (1 + np.sqrt(1 + 4 * age**2)) / 2
        position, ahead, age = reached, reached + (age - 1) / older * move, older
        farthest = np.abs(np.sqrt(variances)[:, None] * move).max()
        if farthest < TOLERANCE:
            break
    else:
        log.warning("linear probes: after %d steps a step still moves the scores by %.2g logits", MAX_STEPS, farthest)
    return position
