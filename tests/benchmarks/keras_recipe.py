"""The poster's recipe as a Keras user writes it: ImageDataGenerator over files, the whole network in every epoch."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from radiograft.config.augmentation import PRESETS
from radiograft.data.catalog import Catalog, label_column
from radiograft.metrics.multilabel import auroc
from tests.benchmarks.films import LABEL, SIDE
from tests.benchmarks.timing import EpochTimes

BATCH_SIZE = 32
CUT_OFF = "conv5_block16_2_conv"
FEATURE_RATE, FINE_TUNE_RATE = 1e-3, 1e-4


class Outcome(NamedTuple):
    """Seconds of the recipe, and the validation AUROC of the network after the epochs that were really run."""

    seconds: float
    auroc: float


def run_recipe(catalog: Path, epochs: int, timed_epochs: int) -> Outcome:
    """`epochs` epochs of feature extraction and as many of fine-tuning; see `_fit`."""
    start, missing = time.perf_counter(), 0.0
    generators, model = _generators(catalog), _build()
    for cut_off, rate in (("", FEATURE_RATE), (CUT_OFF, FINE_TUNE_RATE)):
        if cut_off:
            _unfreeze(model, cut_off)
        missing += _fit(model, rate, generators, epochs, timed_epochs)
    seconds = time.perf_counter() - start + missing
    validation = generators[1]
    return Outcome(seconds, auroc(validation.labels, model.predict(validation, verbose=0)[:, 0]))


def seconds_of_fine_tuning(catalog: Path, cut_off: str, epochs: int, timed_epochs: int) -> float:
    """Seconds of `epochs` epochs of fine-tuning from one cut-off, with building the network; see `_fit`."""
    start, model = time.perf_counter(), _build()
    _unfreeze(model, cut_off)
    missing = _fit(model, FINE_TUNE_RATE, _generators(catalog), epochs, timed_epochs)
    return time.perf_counter() - start + missing


def _fit(model: keras.Model, rate: float, generators: tuple[Any, Any], epochs: int, timed_epochs: int) -> float:
    """Runs `timed_epochs`; returns the seconds of the missing ones, each like the median of those after the first."""
    training, validation = generators
    times = EpochTimes()
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    model.fit(training, validation_data=validation, epochs=timed_epochs, callbacks=[times], verbose=0)
    return (epochs - timed_epochs) * statistics.median(times.seconds[1:])


def _build() -> keras.Model:
    """Frozen DenseNet-121 and a new classifier; random weights take the same time as ImageNet's."""
    base = keras.applications.DenseNet121(include_top=False, weights=None, input_shape=(SIDE, SIDE, 3), pooling="avg")
    base.trainable = False
    hidden = keras.layers.Dense(256, activation="relu")(base.output)
    outputs = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Dropout(0.5)(hidden))
    return keras.Model(base.input, outputs)


def _unfreeze(model: keras.Model, cut_off: str) -> None:
    names = [layer.name for layer in model.layers]
    for layer in model.layers[names.index(cut_off) :]:
        layer.trainable = True


def _generators(catalog: Path) -> tuple[Any, Any]:
    """Augmented training and plain validation images, read from the files in every epoch."""
    rows = Catalog.read(catalog).rows
    normalize = keras.applications.densenet.preprocess_input
    make = tf.keras.preprocessing.image.ImageDataGenerator
    generators = {
        "train": make(preprocessing_function=normalize, **PRESETS["poster"]),
        "validation": make(preprocessing_function=normalize),
    }
    training, validation = (
        generator.flow_from_dataframe(
            rows[rows["split"] == split],
            x_col="uri",
            y_col=label_column(LABEL),
            class_mode="raw",
            target_size=(SIDE, SIDE),
            batch_size=BATCH_SIZE,
            shuffle=split == "train",
            seed=0,
        )
        for split, generator in generators.items()
    )
    return training, validation
