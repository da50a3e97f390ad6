"""Linear probes: an L2-regularized logistic regression for each layer and penalty, solved to convergence.

Numbers have a ridge regression each, which is solved in closed form.

Layers are solved one after another, since the features of one layer fit into the processor's cache. All penalties of a
layer, and all labels that are known for most images, are solved together. Independent labels have a regression each;
exclusive classes share a multinomial one.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from keras import ops

from radiograft.training.stored_inputs import ROWS_IN_MEMORY, StoredInputs, moments, row_slices

log = logging.getLogger(__name__)

Product = Callable[[np.ndarray], np.ndarray]
Problem = tuple[np.ndarray | slice, np.ndarray]  # images and labels that are solved together

PENALTIES = (0.01, 0.1, 1.0)
RIDGE_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # few images of a noisy number need more than a label
MAX_STEPS = 300  # usually 20 to 30 suffice
TOLERANCE = 1e-4  # logits; the solver stops when a step changes the scores by less
MIN_LABELED_FRACTION = 0.9  # a label that is known for fewer images is solved separately
CURVATURE = {"sigmoid": 1 / 4, "softmax": 1 / 2}  # bounds of the second derivative by the logits (Böhning 1992)
ABSENT = -30.0  # logit of a class without training images, relative to the others
MIN_VARIANCE = 1e-5  # relative to the first principal axis; below it float32 has only noise


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
        scores = _activate(ops.matmul(centered, self.weights) + self.biases, self.activation)
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


def penalties_of(activation: str) -> tuple[float, ...]:
    """Returns the penalties of probes with this activation."""
    return RIDGE_PENALTIES if activation == "linear" else PENALTIES


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


def _activate(logits: Any, activation: str) -> Any:
    """Returns the probabilities of logits [n, labels x penalties]."""
    if activation == "linear":
        return logits
    if activation == "sigmoid":
        return ops.sigmoid(logits)
    by_class = ops.reshape(logits, (logits.shape[0], -1, len(PENALTIES)))
    return ops.reshape(ops.softmax(by_class, axis=1), logits.shape)


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
        rows, known = np.arange(len(features))[images], truth[images][:, labels]
        solve = _solve_stored if len(rows) > ROWS_IN_MEMORY else _solve
        given = StoredInputs(inputs, rows, mean, scale)
        weights[:, labels], biases[labels] = solve(given, known, activation)
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


def _solve(stored: StoredInputs, truth: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights [channels, labels, penalties] and biases [labels, penalties] for inputs [n, channels]."""
    ((_, inputs),) = stored.parts()
    mean = inputs.mean(axis=0)
    centered = inputs - mean
    axes, variances = _principal_axes(centered)
    rotated = np.pad(ops.convert_to_numpy(ops.matmul(centered, axes)), [(0, 0), (0, 1)], constant_values=1.0)
    if activation == "linear":
        means = truth.mean(axis=0, dtype="float64").astype("float32")
        solution = _solve_ridge(rotated[:, :-1].T @ (truth - means) / len(truth), variances, means)
    else:
        matrix, transposed = ops.convert_to_tensor(rotated), ops.convert_to_tensor(np.ascontiguousarray(rotated.T))
        solution = _minimize(
            lambda weights: ops.convert_to_numpy(ops.matmul(matrix, weights)),
            lambda residual: ops.convert_to_numpy(ops.matmul(transposed, residual)),
            np.append(variances, np.float32(1)),
            truth,
            activation,
        )
    weights = ops.convert_to_numpy(ops.matmul(axes, solution[:-1]))
    return _with_biases(weights, solution[-1], mean, activation)


def _solve_stored(stored: StoredInputs, truth: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same as `_solve`, but for rounding, of inputs that are computed again in every step."""
    inputs = stored.centered()
    variances, vectors = (ops.convert_to_numpy(part) for part in ops.eigh(inputs.covariances()))
    kept = variances > MIN_VARIANCE * variances[-1]
    variances, axes = variances[kept], vectors[:, kept]
    if activation == "linear":
        means = truth.mean(axis=0, dtype="float64").astype("float32")
        solution = _solve_ridge(axes.T @ inputs.transposed_times(truth - means) / len(truth), variances, means)
    else:
        solution = _minimize(
            lambda weights: inputs.times(axes @ weights[:-1]) + weights[-1],
            lambda residual: np.vstack([axes.T @ inputs.transposed_times(residual), residual.sum(axis=0)]),
            np.append(variances, np.float32(1)),
            truth,
            activation,
        )
    return _with_biases(axes @ solution[:-1], solution[-1], np.asarray(inputs.center), activation)


def _with_biases(
    weights: np.ndarray, intercepts: np.ndarray, mean: np.ndarray, activation: str
) -> tuple[np.ndarray, np.ndarray]:
    biases = intercepts - mean @ weights
    shape = (-1, len(penalties_of(activation)))
    return weights.reshape(len(weights), *shape), biases.reshape(shape)


def _solve_ridge(covariances: np.ndarray, variances: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Returns the weights of ridge regressions on uncorrelated, centered inputs.

    Args:
        covariances: of the inputs with the targets, float32 [axes, labels].
        variances: of the inputs, float32 [axes].
        means: of the targets, float32 [labels].

    Returns:
        float32 [axes + 1, labels x penalties]; the last row is the bias, which has no penalty.
    """
    penalties = np.array(RIDGE_PENALTIES, dtype="float32")
    weights = covariances[:, :, None] / (variances[:, None, None] + penalties)
    return np.vstack([weights.reshape(len(variances), -1), np.repeat(means, len(penalties))[None]])


def _principal_axes(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the principal axes of centered inputs [n, channels] and the variances along them.

    The penalty is the same in these coordinates, and weights orthogonal to the axes would only add to it.

    Returns:
        Orthonormal axes [channels, axes], at most n, and variances [axes].
    """
    wide = inputs.shape[0] < inputs.shape[1]
    products = ops.matmul(inputs, inputs.T) if wide else ops.matmul(inputs.T, inputs)
    variances, vectors = (ops.convert_to_numpy(part) for part in ops.eigh(products / len(inputs)))
    kept = variances > MIN_VARIANCE * variances[-1]
    variances, vectors = variances[kept], vectors[:, kept]
    if wide:
        vectors = ops.convert_to_numpy(ops.matmul(inputs.T, vectors / np.sqrt(len(inputs) * variances)))
    return vectors, variances


def _minimize(
    multiply: Product, multiply_transposed: Product, variances: np.ndarray, truth: np.ndarray, activation: str
) -> np.ndarray:
    """Minimizes the loss by gradient descent with Nesterov momentum and a diagonal preconditioner.

    The curvature of the loss is at most CURVATURE times the columns' variances plus the penalty (Böhning and Lindsay
    1988). Dividing the gradient by this bound therefore never overshoots. Momentum restarts when it points uphill
    (O'Donoghue and Candès 2015), for all exclusive classes at once.

    Args:
        multiply: returns the product of inputs [n, axes + 1], whose columns are uncorrelated and whose last column is
            1, for the bias, with weights.
        multiply_transposed: returns the product of the transposed inputs with residuals [n, labels x penalties].
        variances: of the columns, float32 [axes + 1].
        truth: float32 [n, labels], NaN where unknown.
        activation: `sigmoid` or `softmax`.

    Returns:
        Weights [axes + 1, labels x penalties]; the last row is the bias, which has no penalty.
    """
    targets = np.repeat(truth, len(PENALTIES), axis=1)
    known = ~np.isnan(targets)
    share = (1 / known.sum(axis=0)).astype("float32")
    targets, image_weights = np.where(known, targets, 0.0), known * share
    ridge = np.outer(np.ones_like(variances), np.tile(np.array(PENALTIES, dtype="float32"), truth.shape[1]))
    ridge[-1] = 0.0
    bound = len(truth) * share * variances[:, None] * CURVATURE[activation] + ridge
    position: np.ndarray = np.zeros_like(bound)
    ahead, age = position, np.ones_like(bound[0])  # `age` controls the momentum of each column
    for _ in range(MAX_STEPS):
        residual = (ops.convert_to_numpy(_activate(multiply(ahead), activation)) - targets) * image_weights
        gradient = multiply_transposed(residual) + ridge * ahead
        updated = ahead - gradient / bound
        step = updated - position
        uphill = (gradient * step).sum(axis=0)
        if activation == "softmax":
            uphill = np.tile(uphill.reshape(-1, len(PENALTIES)).sum(axis=0), truth.shape[1])
        age = np.where(uphill > 0, np.float32(1), age)
        next_age = (1 + np.sqrt(1 + 4 * age**2)) / 2
        position, ahead, age = updated, updated + (age - 1) / next_age * step, next_age
        largest_change = np.abs(np.sqrt(variances)[:, None] * step).max()
        if largest_change < TOLERANCE:
            break
    else:
        log.warning("linear probes: no convergence in %d steps, scores still change by %.2g", MAX_STEPS, largest_change)
    return position
