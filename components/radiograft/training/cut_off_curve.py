"""The cut-off curve: how well a linear probe on each layer tells the labels apart on validation."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import tensorflow as tf

from radiograft.training import linear_probes
from radiograft.training.feature_extraction import FeatureSet
from radiograft.training.losses import mean_auroc

log = logging.getLogger(__name__)


CURVE, SCORES = "curve.json", "probe_scores.npy"
AUTO, LAST = "auto", "last"


class Point(TypedDict):
    """A layer's probe: channels, the penalty chosen on validation, mean AUROC there over the estimable labels."""

    layer: str
    channels: int
    penalty: float
    auroc: float


def compute_curve(extraction: FeatureSet, truth: dict[str, np.ndarray]) -> tuple[list[Point], np.ndarray]:
    """Trains all probes and chooses each layer's penalty on validation.

    Args:
        truth: float32 [images, labels] by split.

    Returns:
        A point a layer, from the input on, and their validation probabilities float32 [layers, images, labels].

    Raises:
        ValueError: validation has no label with both classes.
    """
    fitted = linear_probes.fit_probes(extraction.stored["train"], truth["train"], extraction.widths)
    scores = fitted.predict(extraction.stored["validation"])
    points, chosen = [], []
    for layer, channels, by_penalty in zip(extraction.layers, extraction.widths, scores, strict=True):
        found = [mean_auroc(truth["validation"], each) for each in by_penalty]
        best = int(np.argmax(found))
        points.append(Point(layer=layer, channels=channels, penalty=linear_probes.PENALTIES[best], auroc=found[best]))
        chosen.append(by_penalty[best])
    return points, np.stack(chosen)


def choose_feature_layer(wanted: str, points: list[Point], usable: Callable[[str], bool]) -> str:
    """The layer to extract features from: `wanted`, the last, or with `auto` of those usable the best on validation."""
    if wanted != AUTO:
        return points[-1]["layer"] if wanted == LAST else wanted
    able = [point for point in points if usable(point["layer"])]
    found = best_point(able)["layer"]
    log.info("feature layer: %s, the best of %d from which model_cut_off can be fine-tuned", found, len(able))
    return found


def best_point(points: Sequence[Point]) -> Point:
    """The layer that tells most; of equals the deepest."""
    return max(reversed(points), key=lambda point: point["auroc"])


def write_curve(folder: Path, points: list[Point], scores: np.ndarray, logs: Path) -> None:
    """Writes curve.json and probe_scores.npy, and to TensorBoard the AUROC by the layer's number."""
    (folder / CURVE).write_text(json.dumps(points, indent=2))
    np.save(folder / SCORES, scores)
    writer = tf.summary.create_file_writer(str(logs))
    with writer.as_default():
        for number, point in enumerate(points):
            tf.summary.scalar("cut_off_curve/validation_auroc", point["auroc"], step=number)
    writer.close()
    top = best_point(points)
    log.info("linear probes: best of %d layers is %s, validation AUROC %.3f", len(points), top["layer"], top["auroc"])
