"""Dark images with a bright square, and a network that detects brightness."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from radiograft.config.augmentation import Augmentation
from radiograft.data.catalog import BOX_COLUMNS
from radiograft.data.shards.dataset import Shards
from radiograft.data.shards.files import write_description
from radiograft.data.shards.records import write_shard
from radiograft.explain.class_activation import HeatMaps
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor

SIZE = 32
CELL = 4  # side in pixels of the image region behind one element of the last activation
SQUARE = 8
LABELS = ("Bright", "Dark")
Place = tuple[int, int]


def image(place: Place) -> np.ndarray:
    """Returns uint8 [SIZE, SIZE, 1] with a square whose upper left corner is at (x, y)."""
    x, y = place
    pixels = np.full((SIZE, SIZE, 1), 10, dtype="uint8")
    pixels[y : y + SQUARE, x : x + SQUARE] = 250
    return pixels


def network(channels: int, kernel: np.ndarray, bias: float = 0.0) -> keras.Model:
    """Builds a network with two labels that is linear after the pooling.

    Args:
        channels: of the last activation, [n, 8, 8, channels]; the first is the brightness, the others are random.
        kernel: of the last layer, [channels, 2].
    """
    gray = keras.Input((SIZE, SIZE, 1), dtype="uint8", name="picture")
    scaled = keras.layers.Rescaling(1 / 255)(gray)
    cells = keras.layers.Conv2D(channels, CELL, strides=CELL, activation="relu", name="cells")
    features = build_feature_extractor(keras.Model(gray, cells(scaled), name="squares"))
    weights = np.random.default_rng(0).normal(size=(CELL, CELL, 1, channels)).astype("float32")
    weights[..., 0] = 1 / CELL**2
    cells.set_weights([weights, np.zeros(channels)])
    model = attach_classifier(features, build_classifier(channels, 2, dense_units=0, dropout=0.5, l2=0.0, seed=0))
    model.get_layer("probabilities").set_weights([kernel, np.full(2, bias)])
    return model


def brightness() -> HeatMaps:
    """Returns the heat maps of a network whose first label is brightness and whose second label is darkness."""
    return HeatMaps(network(1, np.array([[9.0, -9.0]])), tf.distribute.get_strategy())


def shards(
    folder: Path,
    places: Mapping[str, list[Place]],
    truth: Mapping[str, list[float]] | None = None,
    boxes: Mapping[str, tuple[str, list[float]]] | None = None,
) -> Shards:
    """Writes shards of images `<split>-<number>.png`, two per patient, with squares at these places by split.

    Args:
        truth: labels of `Bright` by split; 1 if missing.
        boxes: finding and corners by image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for split in ("train", "validation", "test"):
        count = len(places.get(split, []))
        present = (truth or {}).get(split, [1.0] * count)
        ids = [f"{split}-{number}.png" for number in range(count)]
        patients = [f"{split}-{number // 2}" for number in range(count)]
        parts.append(pd.DataFrame({"image_id": ids, "patient_id": patients, "split": split, "label:Bright": present}))
        examples = ((image(place), name, np.zeros(2)) for place, name in zip(places.get(split, []), ids, strict=True))
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", examples)
    rows = pd.concat(parts, ignore_index=True).assign(**{"label:Dark": 0.0})
    table = pd.DataFrame(
        [(name, finding, *corners) for name, (finding, corners) in (boxes or {}).items()], columns=list(BOX_COLUMNS)
    ).astype(BOX_COLUMNS)
    write_description(
        folder, rows, Augmentation(), {"labels": list(LABELS), "image_size": SIZE, "fingerprint": "squares"}, table
    )
    return Shards.read(folder)
