"""Dimensionality reduction beside the cut-off curve: linear probes on PCA, PLS or LDA components of each layer.

Everything is fitted on training images; the number of components and the penalty are selected on validation.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import tensorflow as tf
from sklearn.cross_decomposition import PLSRegression
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning

from radiograft.data.catalog import has_both_classes
from radiograft.registry.training_types import CURVE_TITLES, curve_metric
from radiograft.training import linear_probes
from radiograft.training.cut_off_curve import DEFAULT_TASK, curve_key
from radiograft.training.feature_extraction import ROWS_PER_CHUNK, FeatureSet
from radiograft.training.probe_solver import penalties_of
from radiograft.training.tasks.base import TrainingTask

log = logging.getLogger(__name__)

REDUCED_CURVE, REDUCED_SCORES = "reduced_curve.json", "reduced_scores.npy"

COMPONENTS = {"pca": (16, 64, 256), "pls": (4, 16, 64)}  # tried for each layer; LDA has one for each label
PLS_ITERATIONS = 100  # for each component
MAX_FITTED = 10_000  # images; bounds memory: three copies of one layer in float64, 0.5 GB for 2,048 channels


class ReducedPoint(TypedDict):
    """The probe on the components of one layer.

    Attributes:
        layer: name of the layer.
        method: `pca`, `pls` or `lda`.
        components: number of components with the highest validation metric.
        penalty: L2 penalty of the probe with the highest validation metric.
        auroc, r2: validation metric with both, see `radiograft.training.cut_off_curve.Point`.
    """

    layer: str
    method: str
    components: int
    penalty: float
    auroc: NotRequired[float]
    r2: NotRequired[float]


@dataclasses.dataclass(frozen=True)
class Projection:
    """A linear map from features to components.

    Attributes:
        mean: of the fitted features, float32 [channels].
        axes: float32 [channels, components]; of PCA and PLS, the leading ones are those of a smaller number.
    """

    mean: np.ndarray
    axes: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Returns components, float32 [n, components], of features [n, channels], which may be memory-mapped."""
        starts = range(0, len(features), ROWS_PER_CHUNK)
        chunks = (features[start : start + ROWS_PER_CHUNK].astype("float32") for start in starts)
        return np.concatenate([(chunk - self.mean) @ self.axes for chunk in chunks])


def fit_projection(
    method: str, features: np.ndarray, truth: np.ndarray, components: int, seed: int = 0, numeric: bool = False
) -> Projection:
    """Fits principal components, partial least squares or linear discriminants to standardized features.

    An unknown label counts as the mean of its known values in PLS, which has one output for each label (PLS2). LDA has
    one direction for each label, which separates it from the rest of the images where it is known, with Ledoit and
    Wolf's shrinkage. Labels without both classes are left out.

    Args:
        method: `pca`, `pls` or `lda`.
        features: training features [n, channels].
        truth: training labels, float32 [n, labels], NaN where unknown.
        components: number of components of PCA and PLS; at most n - 1 and the number of channels.
        seed: of the randomized solver of PCA.
        numeric: whether the labels are numbers; those that do not vary are left out.

    Raises:
        ValueError: PLS or LDA has no label with both classes.
    """
    inputs = np.asarray(features, dtype="float32")
    mean, deviation = inputs.mean(axis=0, dtype="float64"), inputs.std(axis=0, dtype="float64")
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6).astype("float32")
    mean = mean.astype("float32")
    is_usable = _varies if numeric else has_both_classes
    inputs, labels = (inputs - mean) * scale, truth[:, [is_usable(column) for column in truth.T]]
    if method != "pca" and not labels.size:
        raise ValueError(
            f"model_feature_reduction={method} must have a training label with both classes, got none: choose pca"
        )
    if method == "pca":
        axes = PCA(components, random_state=seed).fit(inputs).components_.T
    elif method == "pls":
        axes = _fit_partial_least_squares(inputs, labels, components)
    else:
        axes = np.stack([_discriminant(inputs, column) for column in labels.T], axis=1)
    return Projection(mean, scale[:, None] * axes.astype("float32"))


def _varies(values: np.ndarray) -> bool:
    return len(np.unique(values[~np.isnan(values)])) > 1


def _fit_partial_least_squares(inputs: np.ndarray, labels: np.ndarray, components: int) -> np.ndarray:
    """Returns the axes of PLS2, [channels, components], for standardized inputs; unknown labels count as the mean."""
    targets = np.nan_to_num((labels - np.nanmean(labels, axis=0)) / np.nanstd(labels, axis=0))
    with warnings.catch_warnings():  # labels that are hardly related to the rest converge slowly, to equally good axes
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = PLSRegression(components, scale=False, max_iter=PLS_ITERATIONS).fit(inputs, targets)
    axes: np.ndarray = fitted.x_rotations_
    return axes


def _discriminant(inputs: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns the direction that separates the images with a label from those without it, [channels]."""
    known = ~np.isnan(label)
    fitted = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(inputs[known], label[known] > 0.5)
    direction: np.ndarray = fitted.coef_[0]
    return direction


def compute_reduced_curve(
    extraction: FeatureSet,
    truth: dict[str, np.ndarray],
    methods: Sequence[str],
    seed: int,
    task: TrainingTask = DEFAULT_TASK,
) -> tuple[list[ReducedPoint], np.ndarray]:
    """Fits a probe on the components of each layer and selects their number and the penalty on validation.

    The projection is fitted on at most MAX_FITTED training images, drawn at random; the probe on all of them.

    Args:
        extraction: training and validation features.
        truth: labels by split, float32 [images, labels], NaN where unknown.
        methods: any of `pca`, `pls` and `lda`.
        seed: of the sample and of PCA's solver.
        task: the training task, see `compute_curve`.

    Returns:
        One point for each layer and method, the methods of one layer in the given order, and the validation
        predictions, float32 [points, images, labels].

    Raises:
        ValueError: no label has both classes on validation, or on training for PLS or LDA.
    """
    points, selected = list[ReducedPoint](), list[np.ndarray]()
    for layer, features in _iter_layers(extraction):
        for method in methods:
            point, scores = _reduced_point(layer, method, features, truth, seed, task)
            points.append(point)
            selected.append(scores)
            metric = curve_metric([point])
            log.debug("%s of %s: validation %s %.3f", method, layer, CURVE_TITLES[metric], point[metric])
    return points, np.stack(selected)


def _iter_layers(extraction: FeatureSet) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Yields each layer with its features by split."""
    for layer in extraction.layers:
        yield layer, {split: extraction.layer(layer, split) for split in extraction.stored}


def _reduced_point(
    layer: str,
    method: str,
    features: dict[str, np.ndarray],
    truth: dict[str, np.ndarray],
    seed: int,
    task: TrainingTask,
) -> tuple[ReducedPoint, np.ndarray]:
    """Returns the best probe of one layer and method, and its validation predictions."""
    activation, metric = task.activation, curve_key(task)
    images, channels = features["train"].shape
    rows = np.sort(np.random.default_rng(seed).permutation(images)[:MAX_FITTED])
    sizes = sorted({min(size, channels, len(rows) - 1) for size in COMPONENTS.get(method, ())})
    fitted, largest = (features["train"][rows], truth["train"][rows]), sizes[-1] if sizes else 0
    projection = fit_projection(method, *fitted, largest, seed, activation == "linear")
    components = {split: projection.apply(part) for split, part in features.items()}
    candidates = list[tuple[ReducedPoint, np.ndarray]]()
    for size in sizes or [projection.axes.shape[1]]:
        train, validation = (components[split][:, :size] for split in ("train", "validation"))
        # PCA rotates the standardized features: on all components the probe is the one of the cut-off curve.
        probes = linear_probes.fit_probes(train, truth["train"], [size], activation, standardize=method != "pca")
        for penalty, scores in zip(penalties_of(activation), probes.predict(validation)[0], strict=True):
            point = ReducedPoint(layer=layer, method=method, components=size, penalty=penalty)
            point[metric] = task.evaluate(truth["validation"], scores)[task.monitor.metric]
            candidates.append((point, scores))
    return max(candidates, key=lambda candidate: candidate[0][metric])


def write_reduced_curve(folder: Path, points: list[ReducedPoint], scores: np.ndarray, logs: Path) -> None:
    """Writes reduced_curve.json and reduced_scores.npy to `folder`, and the metric by layer number to TensorBoard."""
    (folder / REDUCED_CURVE).write_text(json.dumps(points, indent=2))
    np.save(folder / REDUCED_SCORES, scores)
    metric = curve_metric(points)
    writer = tf.summary.create_file_writer(str(logs))
    methods = list(dict.fromkeys(point["method"] for point in points))
    with writer.as_default():
        for method in methods:
            for number, point in enumerate(point for point in points if point["method"] == method):
                tf.summary.scalar(f"cut_off_curve/validation_{metric}_{method}", point[metric], step=number)
    writer.close()
    best = max(points, key=lambda point: point[metric])
    log.info(
        "reduced features: the best of %d is %s of %s, %d components, validation %s %.3f",
        *(len(points), best["method"], best["layer"], best["components"], CURVE_TITLES[metric], best[metric]),
    )
