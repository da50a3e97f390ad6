"""The search for the best of 16 cut-offs: shared activations compared with a separate fine-tuning per cut-off."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import keras
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.search.cut_off import SearchContext, fine_tune_each
from radiograft.training.train_config import TrainConfig
from tests.benchmarks import films
from tests.benchmarks.keras_recipe import seconds_of_fine_tuning
from tests.benchmarks.recipe import COPIES, EPOCHS, FINE_TUNE, NEVER
from tests.benchmarks.row import Row
from tests.benchmarks.timing import seconds

CUT_OFFS = [f"conv5_block{number}_1_conv" for number in range(1, 17)]
TIMED_CUT_OFFS = (CUT_OFFS[0], CUT_OFFS[-1])  # of theirs: in between, the time grows linearly
TIMED_EPOCHS = 2  # of theirs
FLOOR = 10

SETTINGS = dataclasses.replace(FINE_TUNE, model_cut_off=",".join(CUT_OFFS))


def measure(work: Path) -> list[Row]:
    """Measures seconds of both. Theirs runs first, on the files of the same images."""
    catalog = films.catalog(work)
    separate = [seconds_of_fine_tuning(catalog, cut_off, EPOCHS, TIMED_EPOCHS) for cut_off in TIMED_CUT_OFFS]
    data, network = Shards.read(films.shards(work)), _build()
    ours = seconds(lambda: _search(network, data, work / "search"))
    how = (
        f"DenseNet-121 at {films.SIDE} px, {films.COUNTS['train']} training and {films.COUNTS['validation']} "
        f"validation images, {EPOCHS} epochs from each of {len(CUT_OFFS)} cut-offs, {CUT_OFFS[0]} to {CUT_OFFS[-1]}. "
        f"Theirs: ImageDataGenerator and model.fit, {TIMED_EPOCHS} epochs from the first and the last cut-off, "
        f"scaled to {EPOCHS} epochs, and their mean times {len(CUT_OFFS)}. "
        f"Ours: the whole search, with caching and extending {COPIES} copies and training, without saving the model."
    )
    return [Row.speedup("search", ours, len(CUT_OFFS) * statistics.mean(separate), floor=FLOOR, how=how)]


def _build() -> keras.Model:
    features = build_feature_extractor(build_backbone("densenet121", "none", "", films.SIDE))
    channels = features.output.shape[-1]
    return attach_classifier(features, build_classifier(channels, 1, dense_units=256, dropout=0.5, l2=1e-4, seed=0))


def _search(network: keras.Model, data: Shards, folder: Path) -> None:
    config = TrainConfig(
        name="search",
        optimizer=SETTINGS.train_optimizer,
        learning_rate=SETTINGS.train_fine_tune_learning_rate,
        recipe=SETTINGS.recipe(),
        epochs=EPOCHS,
        patience=NEVER,
        logs=folder,
    )
    fine_tune_each(
        network, CUT_OFFS, SearchContext(SETTINGS, data, config, tf.distribute.get_strategy(), Checkpoints(""))
    )
