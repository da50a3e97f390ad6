"""Studies of noise whose finding is a bright square in the lateral image alone, and a small network that reads both."""

from __future__ import annotations

import hashlib
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from radiograft.config import Preprocess
from radiograft.config.base import record_settings
from radiograft.data.catalog import SPLITS, Catalog, exclusion
from radiograft.data.shards.dataset import Shards
from radiograft.models.heads import attach_classifier, build_classifier, build_patient_input
from radiograft.models.lateral import add_lateral
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.images import encode, noise

SIZE = 32
STUDIES = {"train": 48, "validation": 24, "test": 24}
WITHOUT = 4  # every fourth study has no lateral image


def lateral_image(number: int, *, positive: bool) -> np.ndarray:
    """Returns noise, with a bright square if `positive`."""
    pixels = noise(SIZE, 1000 + number) // 2
    if positive:
        pixels[8:24, 8:24] = 250
    return pixels


def study_catalog(folder: Path) -> Catalog:
    """Writes images below `folder` and returns a catalog of studies, two of each patient, half of them with a mass."""
    rows = []
    for number, split in enumerate(np.repeat(SPLITS, list(STUDIES.values())).tolist()):
        mass = number // 2 % 2
        row = {"patient_id": str(number // 2), "study_id": str(number), "view": "PA", "split": split}
        row |= {"age": 50.0, "sex": "F", "label:Mass": float(mass)} | _stored(
            folder, f"{number:03}.png", noise(SIZE, number)
        )
        if number % WITHOUT:
            stored = _stored(folder, f"{number:03}_lateral.png", lateral_image(number, positive=bool(mass)))
            row |= {"lateral": stored["uri"]}
            row |= {
                f"lateral_{new}": stored[name] for name, new in (("image_id", "id"), ("md5", "md5"), ("bytes", "bytes"))
            }
        rows.append(row)
    return Catalog(pd.DataFrame(rows).astype({"lateral_bytes": "Int64"}), ("Mass",), exclusion([], ""), "a source")


def _stored(folder: Path, name: str, pixels: np.ndarray) -> dict[str, object]:
    content = encode(pixels)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    md5 = hashlib.md5(content).hexdigest()
    return {"image_id": name, "uri": str(folder / name), "md5": md5, "bytes": len(content)}


def write_shards(catalog: Catalog, folder: Path, **values: object) -> Path:
    """Runs preprocess on the catalog and returns the folder of shards."""
    catalog.write(folder / "catalog")
    record_settings(folder / "catalog", Preprocess())
    settings = {"image_size": SIZE, "image_augmentation": "none", **values}
    preprocess.run(Preprocess(**settings), folder / "catalog", folder / "shards")  # type: ignore[arg-type]
    return folder / "shards"


def dual_network(data: Shards, seed: int = 1) -> keras.Model:
    """Returns a network with two branches of three convolutions and a hidden layer, with other weights in each."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((data.image_size, data.image_size, data.image_input.channels), dtype="uint8", name="picture")
    scaled = keras.layers.Rescaling(1 / 255, dtype="float32", name="normalised")(image)
    frozen = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name="frozen")(scaled)
    conv = keras.layers.Conv2D(5, 1, activation="relu", name="conv")(frozen)
    deeper = keras.layers.Conv2D(5, 1, activation="relu", name="deeper")(conv)
    features = keras.Model(image, keras.layers.GlobalAveragePooling2D(name="pooled")(deeper), name="net_features")
    patient = next((build_patient_input(values.shape[1:], 0.0, seed=0) for values in data.further.values()), None)
    width = 10 + (patient.output.shape[-1] if patient else 0)
    classifier = build_classifier(width, len(data.labels), dense_units=6, dropout=0.0, l2=0.0, seed=0)
    network = attach_classifier(add_lateral(features), classifier, patient)
    for name in ("lateral_frozen", "lateral_conv", "lateral_missing"):
        layer = network.get_layer(name)
        layer.set_weights([weights + 0.1 for weights in layer.get_weights()])
    return network
