"""Linear probes: an L2-regularized logistic regression for each layer and penalty, solved to convergence.

Numbers have a ridge regression each, which is solved in closed form.

Layers are solved one after another, since the features of one layer fit into the processor's cache. All penalties of a
layer, and all labels that are known for most images, are solved together. Independent labels have a regression each;
exclusive classes share a multinomial one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from keras import ops

from radiograft.training.probe_solver import activate, penalties_of, solve
from radiograft.training.stored_inputs import ROWS_IN_MEMORY, StoredInputs, moments, row_slices

Problem = tuple[np.ndarray | slice, np.ndarray]  # images and labels that are solved together

MIN_LABELED_FRACTION = 0.9  # a label that is known for fewer images is solved separately
ABSENT = -30.0  # logit of a class without training images, relative to the others


@dataclasses.dataclass(frozen=True)
class Probe:
    """The logistic regressions of one layer.

    Attributes:
        mean: of the training features, float32 [channels].
        weights: for centered features, float32 [channels, labels x penalties].
        biases: float32 [labels x penalties].
        activation: `sigmoid` for independent labels, `softmax` for exclusive classes, `linear` for numbers.
    """

    mean: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    activation: str = "sigmoid"

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Returns probabilities, or numbers, float32 [penalties, n, labels], for features [n, channels]."""
        parts = [self._score(features[rows]) for rows in row_slices(max(len(features), 1))]
        by_penalty = np.concatenate(parts).reshape(len(features), -1, len(penalties_of(self.activation)))
        return by_penalty.transpose(2, 0, 1)

    def _score(self, features: np.ndarray) -> np.ndarray:
        centered = np.asarray(features, dtype="float32") - self.mean
        scores = activate(ops.matmul(centered, self.weights) + self.biases, self.activation)
        return np.asarray(ops.convert_to_numpy(scores))


@dataclasses.dataclass(frozen=True)
class Probes:
    """The probes of all layers, which have `widths` channels."""

    widths: list[int]
    layers: list[Probe]

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Returns predictions, float32 [layers, penalties, n, labels], for features [n, sum of widths]."""
        parts = _by_layer(features, self.widths)
        return np.stack([probe.predict(part) for probe, part in zip(self.layers, parts, strict=True)])


def fit_probes(
    features: np.ndarray,
    truth: np.ndarray,
    widths: list[int],
    activation: str = "sigmoid",
    *,
    standardize: bool = True,
) -> Probes:
    """Minimizes mean cross-entropy + penalty / 2 x |weights|^2 on standardized features.

    Of numbers, half the mean squared error takes the place of the cross-entropy.

    Args:
        features: float [n, sum of widths], the concatenated features of all layers. They may be memory-mapped: one
            layer is read at a time.
        truth: float32 [n, labels], NaN where unknown; an unknown label does not contribute to the loss.
        widths: number of channels of each layer.
        activation: `sigmoid` for independent labels, `softmax` for exclusive classes, whose `truth` is one-hot,
            `linear` for numbers.
        standardize: whether to divide the features by their standard deviations; otherwise they are only centered.
    """
    return Probes(widths, [fit_probe(part, truth, activation, standardize) for part in _by_layer(features, widths)])


def _by_layer(features: np.ndarray, widths: list[int]) -> list[np.ndarray]:
    return np.split(features, np.cumsum(widths)[:-1], axis=1)


def fit_probe(features: np.ndarray, truth: np.ndarray, activation: str = "sigmoid", standardize: bool = True) -> Probe:
    """Fits the probe of one layer, features [n, channels], as `fit_probes`; constant features are scaled to zero."""
    is_stored = len(features) > ROWS_IN_MEMORY
    inputs = features if is_stored else np.asarray(features, dtype="float32")
    center, deviation = moments(inputs) if is_stored else (inputs.mean(0, "float64"), inputs.std(0, "float64"))
    mean, deviation = center.astype("float32"), deviation if standardize else np.ones_like(deviation)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6).astype("float32")
    penalties = len(penalties_of(activation))
    weights = np.zeros((inputs.shape[1], truth.shape[1], penalties), dtype="float32")
    priors, problems = _problems(truth, activation)
    biases = np.repeat(priors[:, None], penalties, axis=1)
    for images, labels in problems:
        standardized = StoredInputs(inputs, np.arange(len(features))[images], mean, scale)
        weights[:, labels], biases[labels] = solve(standardized, truth[images][:, labels], activation)
    return Probe(mean, scale[:, None] * weights.reshape(len(weights), -1), biases.ravel(), activation)


def _problems(truth: np.ndarray, activation: str) -> tuple[np.ndarray, Iterable[Problem]]:
    """Returns the biases of labels that are not solved, float32 [labels], and what is solved.

    Exclusive classes are solved together on all images of known class. A class without images has no finite bias.
    Numbers are solved one by one on the images of known value.
    """
    if activation == "linear":
        known = ~np.isnan(truth)
        solvable = np.flatnonzero(known.any(axis=0)).tolist()
        return np.zeros(truth.shape[1], "float32"), [(known[:, label], np.array([label])) for label in solvable]
    if activation == "sigmoid":
        return _prior_logits(truth), _joint_problems(truth)
    known, occurs = ~np.isnan(truth).any(axis=1), (truth > 0.5).any(axis=0)
    priors = np.where(occurs, 0.0, ABSENT).astype("float32")
    return priors, [(known, np.flatnonzero(occurs))] if occurs.sum() > 1 else []


def _prior_logits(truth: np.ndarray) -> np.ndarray:
    """Returns the logit of each label's prevalence, float32 [labels].

    Half an image is added to both classes (Krichevsky and Trofimov 1981), so that the logit is finite for labels of one
    class and for labels that are unknown for all images.
    """
    present, absent = (truth > 0.5).sum(axis=0) + 0.5, (truth <= 0.5).sum(axis=0) + 0.5
    logits: np.ndarray = np.log(present / absent).astype("float32")
    return logits


def _joint_problems(truth: np.ndarray) -> Iterator[Problem]:
    """Yields images and labels that are solved together.

    Labels that are known for most images are solved together on all images. Each other label is solved on its own
    images: these would not be uncorrelated on the principal axes of all images, which slows convergence. Labels of one
    class are left out because their bias has no finite optimum.
    """
    known = ~np.isnan(truth)
    solvable = (truth > 0.5).any(axis=0) & (truth <= 0.5).any(axis=0)
    frequent = known.mean(axis=0) >= MIN_LABELED_FRACTION
    if (solvable & frequent).any():
        yield slice(None), np.flatnonzero(solvable & frequent)
    for label in np.flatnonzero(solvable & ~frequent):
        yield known[:, label], np.array([label])
