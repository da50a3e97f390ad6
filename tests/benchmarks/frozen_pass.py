"""The frozen pass by each engine that is installed, compared with TensorFlow in float32."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import tensorflow as tf

from radiograft.backbones import get_backbone
from radiograft.config.training import AUTO_ENGINE, FROZEN_ENGINES, TENSORFLOW
from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.feature_layers import build_distinct_taps
from radiograft.training.frozen_engines import build_predictor, smallest_cosine
from tests.benchmarks import films
from tests.benchmarks.row import Row
from tests.benchmarks.timing import taking_turns

BACKBONES = ("densenet121", "efficientnet_lite0")
BATCHES, BATCH_SIZE, TURNS = 4, 32, 5


def measure(work: Path) -> list[Row]:
    """Measures images per second of processor time, interleaved, without the time to build a network."""
    images = Shards.read(films.shards(work)).images("train", BATCH_SIZE).take(BATCHES).cache()
    return [
        _compare(name, engine, images)
        for name in BACKBONES
        for engine in FROZEN_ENGINES
        if engine not in (AUTO_ENGINE, TENSORFLOW)
    ]


def _compare(backbone: str, engine: str, images: tf.data.Dataset) -> Row:
    network = build_backbone(backbone, "none", "", films.SIDE)
    extractor, columns = build_distinct_taps(network, get_backbone(backbone).taps)
    ours, theirs = (build_predictor(extractor, tf.distribute.get_strategy(), name) for name in (engine, TENSORFLOW))
    features, expected = ours.predict(images), theirs.predict(images)  # also compiles both
    seconds = taking_turns(lambda: ours.predict(images), lambda: theirs.predict(images), TURNS, time.process_time)
    how = (
        f"{backbone} with random weights at {films.SIDE} px, {BATCHES * BATCH_SIZE} images in batches of {BATCH_SIZE}, "
        f"all taps; processor time, median of {TURNS}. Ours: train_frozen_engine={engine}. Theirs: tensorflow. "
        f"Smallest cosine of a layer: {smallest_cosine(expected, features, columns):.5f}; largest difference "
        f"{np.abs(features - expected).max():.2g}."
    )
    count = BATCHES * BATCH_SIZE
    return Row.rate(f"frozen pass {backbone} {engine}", count / seconds[0], count / seconds[1], floor=None, how=how)
