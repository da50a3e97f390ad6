"""Reading images for training: shards compared with ImageDataGenerator and with a Pillow loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from radiograft.config import Preprocess
from radiograft.config.augmentation import AUGMENTATIONS
from radiograft.data.catalog import Catalog, label_column
from radiograft.data.shards.dataset import Shards
from radiograft.stages.preprocess import task as preprocess
from tests.benchmarks import large_films
from tests.benchmarks.decoding import decode
from tests.benchmarks.films import LABEL, SIDE
from tests.benchmarks.row import Row
from tests.benchmarks.timing import taking_turns

BATCH_SIZE = 32
EPOCHS = 4  # of ours per epoch of theirs
TURNS = 3
FLOOR = 10


def measure(work: Path) -> list[Row]:
    """Measures images per second in full, shuffled batches: once with the poster's augmentation, once without."""
    rows = Catalog.read(large_films.catalog(work)).rows
    rows, files = rows[rows["split"] == "train"], list(rows["uri"][rows["split"] == "train"])
    generator = "flow_from_dataframe; both augmented"
    loader = "a loop of Pillow's decode and resize, then stack; neither augmented"
    return [
        _row("ImageDataGenerator", _shards(work, "poster"), lambda: _generator(rows), len(files), generator),
        _row("Pillow", _shards(work, "none"), lambda: _loader(files), len(files), loader),
    ]


def _row(name: str, data: Shards, theirs: Callable[[], Iterator[Any]], count: int, description: str) -> Row:
    steps = count // BATCH_SIZE
    stream = data.training(BATCH_SIZE, range(EPOCHS), seed=0)
    _drain(iter(stream), steps)  # traces the graph
    ours, baseline = taking_turns(lambda: _drain(iter(stream), EPOCHS * steps), lambda: _drain(theirs(), steps), TURNS)
    images = steps * BATCH_SIZE
    how = (
        f"{count} {large_films.NAME}, at {SIDE} px in batches of {BATCH_SIZE}, median of {TURNS}. Ours: shards. "
        f"Theirs: {description}."
    )
    return Row.rate(f"reading, {name}", EPOCHS * images / ours, images / baseline, floor=FLOOR, how=how)


def _shards(work: Path, preset: str) -> Shards:
    folder = work / f"large_shards_{preset}"
    preprocess.run(Preprocess(image_size=SIDE, image_augmentation=preset), large_films.catalog(work), folder)
    return Shards.read(folder)


def _drain(batches: Iterator[Any], steps: int) -> None:
    for _ in range(steps):
        next(batches)


def _generator(rows: Any) -> Iterator[Any]:
    generator = tf.keras.preprocessing.image.ImageDataGenerator(**AUGMENTATIONS["poster"])
    return iter(
        generator.flow_from_dataframe(
            rows,
            x_col="uri",
            y_col=label_column(LABEL),
            class_mode="raw",
            color_mode="grayscale",
            target_size=(SIDE, SIDE),
            batch_size=BATCH_SIZE,
            seed=0,
        )
    )


def _loader(files: list[str]) -> Iterator[np.ndarray]:
    order = np.random.default_rng(0).permutation(len(files))
    for start in range(0, len(files), BATCH_SIZE):
        yield np.stack([decode(files[index]) for index in order[start : start + BATCH_SIZE]])
