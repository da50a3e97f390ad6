"""The poster's recipe in plain Keras: ImageDataGenerator on files, and the whole network in every epoch."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from radiograft.config.augmentation import AUGMENTATIONS
from radiograft.data.catalog import Catalog, label_column
from radiograft.metrics.multilabel import auroc
from tests.benchmarks.films import LABEL, SIDE
from tests.benchmarks.timing import EpochTimes

BATCH_SIZE = 32
CUT_OFF = "conv5_block16_2_conv"
FEATURE_RATE, FINE_TUNE_RATE = 1e-3, 1e-4


class Outcome(NamedTuple):
    """Estimated seconds of the recipe, and the validation AUROC after the epochs that were run."""

    seconds: float
    auroc: float


def run_recipe(catalog: Path, epochs: int, timed_epochs: int) -> Outcome:
    """Runs `epochs` epochs each of feature extraction and fine-tuning, extrapolated as in `_fit`."""
    start, extrapolated = time.perf_counter(), 0.0
    generators, model = _generators(catalog), _build()
    for cut_off, rate in (("", FEATURE_RATE), (CUT_OFF, FINE_TUNE_RATE)):
        if cut_off:
            _unfreeze(model, cut_off)
        extrapolated += _fit(model, rate, generators, epochs, timed_epochs)
    seconds = time.perf_counter() - start + extrapolated
    validation = generators[1]
    return Outcome(seconds, auroc(validation.labels, model.predict(validation, verbose=0)[:, 0]))


def seconds_of_fine_tuning(catalog: Path, cut_off: str, epochs: int, timed_epochs: int) -> float:
    """Returns the seconds to build the network and fine-tune it from one cut-off, extrapolated as in `_fit`."""
    start, model = time.perf_counter(), _build()
    _unfreeze(model, cut_off)
    extrapolated = _fit(model, FINE_TUNE_RATE, _generators(catalog), epochs, timed_epochs)
    return time.perf_counter() - start + extrapolated


def _fit(model: keras.Model, rate: float, generators: tuple[Any, Any], epochs: int, timed_epochs: int) -> float:
    """Trains for `timed_epochs`; returns the estimated seconds of the other epochs: each the median after the first."""
    training, validation = generators
    times = EpochTimes()
    model.compile(keras.optimizers.Adam(rate), "binary_crossentropy", metrics=["accuracy"])
    model.fit(training, validation_data=validation, epochs=timed_epochs, callbacks=[times], verbose=0)
    return (epochs - timed_epochs) * statistics.median(times.seconds[1:])


def _build() -> keras.Model:
    """Builds a frozen DenseNet-121 with a new classifier. Random weights take as long as ImageNet weights."""
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
    """Returns generators of augmented training and plain validation images, which read the files in every epoch."""
    rows = Catalog.read(catalog).rows
    normalize = keras.applications.densenet.preprocess_input
    data_generator = tf.keras.preprocessing.image.ImageDataGenerator
    generators = {
        "train": data_generator(preprocessing_function=normalize, **AUGMENTATIONS["poster"]),
        "validation": data_generator(preprocessing_function=normalize),
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
