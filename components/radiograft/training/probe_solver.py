"""Solves regressions with several L2 penalties at once: logistic, multinomial and ridge regressions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from radiograft.training.stored_inputs import ROWS_IN_MEMORY, StoredInputs

log = logging.getLogger(__name__)

Product = Callable[[np.ndarray], np.ndarray]

PENALTIES = (0.01, 0.1, 1.0)
RIDGE_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)  # few images of a noisy number need more than a label
MAX_STEPS = 300  # usually 20 to 30 suffice
TOLERANCE = 1e-4  # logits; the solver stops when a step changes the scores by less
CURVATURE = {"sigmoid": 1 / 4, "softmax": 1 / 2}  # bounds of the second derivative by the logits (Böhning 1992)
MIN_VARIANCE = 1e-5  # relative to the first principal axis; below it float32 has only noise


def penalties_of(activation: str) -> tuple[float, ...]:
    """Returns the penalties of probes with this activation."""
    return RIDGE_PENALTIES if activation == "linear" else PENALTIES


def activate(logits: Any, activation: str) -> Any:
    """Returns the probabilities of logits [n, labels x penalties]."""
    if activation == "linear":
        return logits
    if activation == "sigmoid":
        return ops.sigmoid(logits)
    by_class = ops.reshape(logits, (logits.shape[0], -1, len(PENALTIES)))
    return ops.reshape(ops.softmax(by_class, axis=1), logits.shape)


def solve(inputs: StoredInputs, truth: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Solves the regressions of all labels and penalties, in memory if the inputs fit.

    Args:
        inputs: standardized features [n, channels].
        truth: float32 [n, labels], NaN where unknown.
        activation: `sigmoid`, `softmax` or `linear`, see `linear_probes.fit_probes`.

    Returns:
        Weights [channels, labels, penalties] and biases [labels, penalties].
    """
    solver = _solve_stored if len(inputs) > ROWS_IN_MEMORY else _solve_in_memory
    return solver(inputs, truth, activation)


def _solve_in_memory(stored: StoredInputs, truth: np.ndarray, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns weights and biases as `solve`, of inputs that are computed once."""
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
    """Returns the same as `_solve_in_memory`, but for rounding, of inputs that are computed again in every step."""
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
        residual = (ops.convert_to_numpy(activate(multiply(ahead), activation)) - targets) * image_weights
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
