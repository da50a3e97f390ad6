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
CACHED_EPOCHS = 10  # per turn
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
    how = f"DenseNet-121 at {films.SIDE} px from {CUT_OFF}. Theirs: the whole network with online augmentation."
    return [compare_epochs("epoch", (cut.suffix, cached), (network, data), how, FLOOR, CACHED_EPOCHS)]


def _build() -> keras.Model:
    features = build_feature_extractor(build_backbone("densenet121", "none", "", films.SIDE))
    channels = features.output.shape[-1]
    return attach_classifier(features, build_classifier(channels, 1, dense_units=256, dropout=0.5, l2=1e-4, seed=0))


def _cache(prefix: keras.Model, data: Shards, folder: Path) -> CachedActivations:
    predictor = Predictor(prefix, tf.distribute.get_strategy())
    return cache_activations(predictor, data, "train", copies=1, batch_size=BATCH_SIZE, seed=0, folder=folder)


def compare_epochs(
    name: str,
    ours: tuple[keras.Model, CachedActivations],
    theirs: tuple[keras.Model, Shards],
    how: str,
    floor: float | None,
    cached_epochs: int,
) -> Row:
    """Compares the median seconds of an epoch of two compiled models in alternating turns.

    Args:
        name: of the row.
        ours: the layers after a cut-off, and the cached activations on which they train.
        theirs: a whole network, and the images, which are augmented as they are read.
        how: what both are.
        floor: smallest ratio, if any.
        cached_epochs: epochs of ours in a turn; theirs is one.
    """
    for model, data in (ours, theirs):  # traces the graph
        fit(model, data.training(BATCH_SIZE, range(1), 0).take(1), 1)
    times = EpochTimes(), EpochTimes()
    for turn in range(TURNS):
        for (model, data), epochs, recorded in zip((ours, theirs), (cached_epochs, 1), times, strict=True):
            fit(model, data.training(BATCH_SIZE, range(epochs), turn), epochs, recorded)
    wall = [statistics.median(each.seconds) for each in times]
    busy = [statistics.median(each.processor) for each in times]
    images = len(theirs[1].split("train"))
    how = (
        f"{how} Ours: the layers after the cut-off on cached activations. {images} images, batch {BATCH_SIZE}, medians "
        f"of {len(times[0].seconds)} and {len(times[1].seconds)} epochs in alternating turns; processor time "
        f"{busy[0]:.2f} s and {busy[1]:.2f} s, ratio {busy[1] / busy[0]:.0f}."
    )
    return Row.speedup(name, wall[0], wall[1], floor=floor, how=how)


def fit(model: keras.Model, batches: tf.data.Dataset, epochs: int, times: EpochTimes | None = None) -> None:
    """Trains and records the time of each epoch."""
    steps = int(batches.cardinality()) // epochs
    callbacks = [times] if times else []
    model.fit(batches, epochs=epochs, steps_per_epoch=steps, shuffle=False, callbacks=callbacks, verbose=0)
