"""The cut-off curve: a classifier on every candidate layer against one plain pass through the same backbone."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.feature_taps import build_tap_model, tap_widths
from radiograft.models.heads import build_feature_extractor
from radiograft.models.predictor import Predictor
from radiograft.training import linear_probes
from tests.benchmarks import films
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds, taking_turns

FITTED = 400  # images; the rest of the training split is predicted
BATCH_SIZE = 32
REPEATS = 3
TIMED_PASSES = 5
FLOOR = 1.25


def measure(work: Path) -> list[Row]:
    """Both sides build their model anew at each turn, so both pay for tracing its graph."""
    data = Shards.read(films.shards(work))
    backbone = build_backbone("densenet121", "none", "", films.SIDE)
    images, truth = data.images("train", BATCH_SIZE), data.truth("train")
    names = list(get_backbone("densenet121").taps)

    def curve() -> None:
        model, strategy = build_tap_model(backbone, names), tf.distribute.get_strategy()
        features = Predictor(model, strategy).whole(images)
        fitted = linear_probes.fit_probes(features[:FITTED], truth[:FITTED], tap_widths(backbone, names))
        fitted.predict(features[FITTED:])

    build_feature_extractor(backbone).predict(
        images.take(1), verbose=0
    )  # neither side pays for the first use of the kernels
    ours, theirs = taking_turns(curve, lambda: build_feature_extractor(backbone).predict(images, verbose=0), REPEATS)
    how = (
        f"DenseNet-121 at {films.SIDE} px, {len(truth)} images. Theirs: model.predict, pooled. Ours: one pass tapped "
        f"at {len(names)} layers, normalization fused, classifiers fitted on {FITTED} images and applied to the "
        f"rest. Tracing counted on both sides, median of {REPEATS}."
    )
    rows = [Row.cost("curve", ours, theirs, floor=FLOOR, unit="s", how=how)]
    timed = [names[number] for number in np.linspace(0, len(names) - 1, TIMED_PASSES).round().astype(int)]
    each = [
        seconds(lambda layer=layer: build_feature_extractor(backbone, layer).predict(images, verbose=0))
        for layer in timed
    ]
    how_each = (
        f"The same curve against a pass of model.predict up to each of the {len(names)} layers, without classifiers: "
        f"{TIMED_PASSES} of them timed, evenly spread, and scaled."
    )
    return [*rows, Row.speedup("curve_passes", ours, len(names) * statistics.mean(each), floor=None, how=how_each)]
