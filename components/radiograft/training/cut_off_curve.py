"""The cut-off curve: validation AUROC of a linear probe on each tapped layer, or R² if the targets are numbers."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import tensorflow as tf

from radiograft.config.network import AUTO_LAYER
from radiograft.models.feature_layers import named_layers
from radiograft.registry.training_types import CURVE_TITLES, CurveMetric, curve_metric
from radiograft.training import linear_probes
from radiograft.training.feature_extraction import FeatureSet
from radiograft.training.probe_solver import penalties_of
from radiograft.training.tasks.base import R2, TrainingTask
from radiograft.training.tasks.multilabel import MultilabelTask

log = logging.getLogger(__name__)

DEFAULT_TASK: TrainingTask = MultilabelTask()
CURVE, SCORES = "curve.json", "probe_scores.npy"


class Point(TypedDict):
    """The probe of one layer.

    Attributes:
        layer: name of the layer.
        channels: number of its channels.
        penalty: L2 penalty with the highest validation metric.
        auroc: validation AUROC with this penalty, the mean over the labels that have both classes.
        r2: if the targets are numbers, in place of `auroc`: validation R², the mean over those that vary.
    """

    layer: str
    channels: int
    penalty: float
    auroc: NotRequired[float]
    r2: NotRequired[float]


def compute_curve(
    extraction: FeatureSet, truth: dict[str, np.ndarray], task: TrainingTask = DEFAULT_TASK
) -> tuple[list[Point], np.ndarray]:
    """Fits a probe on each tapped layer and selects its penalty on validation.

    Args:
        extraction: training and validation features.
        truth: labels by split, float32 [images, labels], NaN where unknown.
        task: the training task, whose activation the probes have and whose monitor selects the penalty.

    Returns:
        One point per layer from the input to the output, and the validation predictions, float32 [layers, images,
        labels].

    Raises:
        ValueError: no label has both classes on validation.
    """
    activation, metric = task.activation, task.monitor.metric
    points, selected = [], []
    for layer in extraction.layers:
        probe = linear_probes.fit_probe(extraction.layer(layer, "train"), truth["train"], activation)
        by_penalty, channels = probe.predict(extraction.layer(layer, "validation")), len(probe.mean)
        values = [task.evaluate(truth["validation"], predicted)[metric] for predicted in by_penalty]
        best = int(np.argmax(values))
        point = Point(layer=layer, channels=channels, penalty=penalties_of(activation)[best])
        point[curve_key(task)] = values[best]
        points.append(point)
        selected.append(by_penalty[best])
    return points, np.stack(selected)


def curve_key(task: TrainingTask) -> CurveMetric:
    """Returns under which key a point of the task's curve stores its metric."""
    return "r2" if task.monitor == R2 else "auroc"


def choose_feature_layers(setting: str, points: list[Point], usable: Callable[[str], bool]) -> list[str]:
    """Returns the layers whose pooled outputs the classifier reads, from the input to the output.

    Args:
        setting: `model_feature_layer`: layer names, `last`, `all`, or `auto` for the usable layer with the highest
            metric.
        points: the cut-off curve.
        usable: whether fine-tuning can start at the cut-off if the network ends at a layer.
    """
    if setting != AUTO_LAYER:
        return named_layers(setting, [point["layer"] for point in points])
    candidates = [point for point in points if usable(point["layer"])]
    layer = best_point(candidates)["layer"]
    log.info("feature layer: %s, the best of %d that model_cut_off permits", layer, len(candidates))
    return [layer]


def best_point(points: Sequence[Point]) -> Point:
    """Returns the point with the highest metric; of equal ones, the deepest."""
    metric = curve_metric(points)
    return max(reversed(points), key=lambda point: point[metric])


def write_curve(folder: Path, points: list[Point], scores: np.ndarray, logs: Path) -> None:
    """Writes curve.json and probe_scores.npy to `folder`, and the metric by layer number to TensorBoard in `logs`."""
    (folder / CURVE).write_text(json.dumps(points, indent=2))
    np.save(folder / SCORES, scores)
    metric = curve_metric(points)
    writer = tf.summary.create_file_writer(str(logs))
    with writer.as_default():
        for number, point in enumerate(points):
            tf.summary.scalar(f"cut_off_curve/validation_{metric}", point[metric], step=number)
    writer.close()
    best = best_point(points)
    log.info(
        "linear probes: best of %d layers is %s, validation %s %.3f",
        *(len(points), best["layer"], CURVE_TITLES[metric], best[metric]),
    )
