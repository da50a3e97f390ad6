"""One epoch of fine-tuning at the poster's cut-off: cached activations compared with online augmentation."""

from __future__ import annotations

import statistics
from pathlib import Path

import keras
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.predictor import Predictor
from radiograft.training.activation_cache import CachedActivations, cache_activations
from tests.benchmarks import films
from tests.benchmarks.row import Row
from tests.benchmarks.timing import EpochTimes

CUT_OFF = "conv5_block16_2_conv"
BATCH_SIZE = 32
CACHED_EPOCHS, ONLINE_EPOCHS = 10, 1  # per turn
TURNS = 2
FLOOR = 30


def measure(work: Path) -> list[Row]:
    """Measures seconds per training epoch, without validation and without the first step, which traces the graph."""
    data, network = Shards.read(films.shards(work)), _build()
    unfreeze_from(network, CUT_OFF)
    cut = split_model(pool_before_concat(network), CUT_OFF)
    for model in (network, cut.suffix):
        model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
    cached = _cache(cut.prefix, data, work / "activations")
    fit(network, data.training(BATCH_SIZE, range(1), 0).take(1), 1)
    fit(cut.suffix, cached.training(BATCH_SIZE, range(1), 0).take(1), 1)
    ours, theirs = [], []
    for turn in range(TURNS):
        ours += fit(cut.suffix, cached.training(BATCH_SIZE, range(CACHED_EPOCHS), turn), CACHED_EPOCHS)
        theirs += fit(network, data.training(BATCH_SIZE, range(ONLINE_EPOCHS), turn), ONLINE_EPOCHS)
    how = (
        f"DenseNet-121 at {films.SIDE} px from {CUT_OFF}, {films.COUNTS['train']} images, batch {BATCH_SIZE}. "
        f"Theirs: the whole network with online augmentation, median of {len(theirs)} epochs. "
        f"Ours: the layers after the cut-off on cached activations, median of {len(ours)} epochs."
    )
    return [Row.speedup("epoch", statistics.median(ours), statistics.median(theirs), floor=FLOOR, how=how)]


def _build() -> keras.Model:
    features = build_feature_extractor(build_backbone("densenet121", "none", "", films.SIDE))
    channels = features.output.shape[-1]
    return attach_classifier(features, build_classifier(channels, 1, dense_units=256, dropout=0.5, l2=1e-4, seed=0))


def _cache(prefix: keras.Model, data: Shards, folder: Path) -> CachedActivations:
    predictor = Predictor(prefix, tf.distribute.get_strategy())
    return cache_activations(predictor, data, "train", copies=1, batch_size=BATCH_SIZE, seed=0, folder=folder)


def fit(model: keras.Model, batches: tf.data.Dataset, epochs: int) -> list[float]:
    """Trains and returns the seconds of each epoch."""
    times = EpochTimes()
    steps = int(batches.cardinality()) // epochs
    model.fit(batches, epochs=epochs, steps_per_epoch=steps, shuffle=False, callbacks=[times], verbose=0)
    return times.seconds
