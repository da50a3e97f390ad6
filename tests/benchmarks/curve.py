"""The cut-off curve, a classifier on every candidate layer, compared with one forward pass through the backbone."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from radiograft.backbones import get_backbone, list_backbones
from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.feature_layers import build_distinct_taps
from radiograft.models.heads import build_feature_extractor
from radiograft.models.predictor import Predictor
from radiograft.training import linear_probes
from tests.benchmarks import films
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds, taking_turns

FITTED = 400  # images; the curve predicts the rest of the training split
BATCH_SIZE = 32
REPEATS = 3
TIMED_PASSES = 5
FLOOR = 1.25


def measure(work: Path) -> list[Row]:
    """Measures seconds of both. Both build their model in each repeat, so both times include tracing the graph."""
    data = Shards.read(films.shards(work))
    backbone = build_backbone("densenet121", "none", "", films.SIDE)
    images, truth = data.images("train", BATCH_SIZE), data.truth("train")
    names = list(get_backbone("densenet121").taps)
    ours, theirs = _compare(backbone, names, images, truth, REPEATS)
    how = (
        f"DenseNet-121 at {films.SIDE} px, {len(truth)} images. Theirs: model.predict with global "
        f"pooling. Ours: one pass with {len(names)} tapped layers and fused batch normalization; classifiers fitted on "
        f"{FITTED} images and applied to the rest. Both include tracing. Median of {REPEATS}."
    )
    rows = [Row.cost("curve", ours, theirs, floor=FLOOR, unit="s", how=how)]
    timed = [names[number] for number in np.linspace(0, len(names) - 1, TIMED_PASSES).round().astype(int)]
    pass_seconds = [
        seconds(lambda layer=layer: build_feature_extractor(backbone, layer).predict(images, verbose=0))
        for layer in timed
    ]
    how_passes = (
        f"The same curve compared with one pass of model.predict to each of the {len(names)} layers, without "
        f"classifiers. {TIMED_PASSES} evenly spaced passes were timed and scaled to all layers."
    )
    return [
        *rows,
        Row.speedup("curve_passes", ours, len(names) * statistics.mean(pass_seconds), floor=None, how=how_passes),
    ]


def measure_backbones(work: Path) -> list[Row]:
    """Measures processor seconds of the curve and of a plain pass once for each backbone, with its taps."""
    data = Shards.read(films.shards(work))
    images, truth = data.images("train", BATCH_SIZE), data.truth("train")
    how = (
        f"The cut-off curve of each backbone at {films.SIDE} px, {len(truth)} images, classifiers fitted on {FITTED}. "
        "Theirs: one pass of model.predict with global pooling. Processor time of one call."
    )
    rows = []
    for name in list_backbones():
        backbone, names = build_backbone(name, "none", "", films.SIDE), list(get_backbone(name).taps)
        ours, theirs = _compare(backbone, names, images, truth, repeats=1, clock=time.process_time)
        title = f"curve {name} ({len(names)} layers)"
        rows.append(Row.cost(title, ours, theirs, floor=FLOOR, unit="CPU s", how=how))
        keras.backend.clear_session()
    return rows


def _compare(
    backbone: keras.Model,
    names: list[str],
    images: tf.data.Dataset,
    truth: np.ndarray,
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Returns the median seconds of the curve over the named layers and of a plain pass through the backbone."""

    def curve() -> None:
        model, columns = build_distinct_taps(backbone, names)
        features = Predictor(model, tf.distribute.get_strategy()).predict(images)
        for ranges in columns.values():
            layer = np.concatenate([features[:, part] for part in ranges], axis=1)
            linear_probes.fit_probe(layer[:FITTED], truth[:FITTED]).predict(layer[FITTED:])

    # A first call warms up the kernels for both sides.
    build_feature_extractor(backbone).predict(images.take(1), verbose=0)
    return taking_turns(curve, lambda: build_feature_extractor(backbone).predict(images, verbose=0), repeats, clock)
