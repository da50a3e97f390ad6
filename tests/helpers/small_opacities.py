"""Images with one small opacity, whose cavity only shows at full size, and a network of three convolutions."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pandas as pd

from radiograft.config.augmentation import Augmentation
from radiograft.config.training import ATTENTION_GUIDED, FineTune
from radiograft.data.shards.dataset import Shards
from radiograft.data.shards.files import write_description
from radiograft.data.shards.records import write_shard
from radiograft.models import artifact
from radiograft.models.attention import shrink
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.spec import ModelSpec

SIDE, SIZE = 128, 32  # of the stored images, and of what a network reads
RADIUS = 4.0  # of an opacity in pixels of the stored image
LABEL = "Cavity"
COUNTS = {"train": 300, "validation": 100, "test": 300}
FINE_TUNE = FineTune(
    model_cut_off="first",
    train_augmentation="cached",
    train_batch_size=20,
    train_cached_augmentations=1,
    train_fine_tune_epochs=12,
    train_fine_tune_learning_rate=0.005,
    train_patience=100,
    model_branches=ATTENTION_GUIDED,
)


def draw(cavity: bool, random: np.random.Generator) -> np.ndarray:
    """Returns uint8 [SIDE, SIDE, 1]: noise, and a solid disc or a ring of the same total brightness."""
    y, x = np.mgrid[:SIDE, :SIDE]
    row, column = random.uniform(3 * RADIUS, SIDE - 3 * RADIUS, 2)
    distance = np.hypot(y - row, x - column)
    disc, hole = distance <= RADIUS, distance <= RADIUS * 0.6
    shape = disc & ~hole if cavity else disc
    pixels = random.normal(60, 8, (SIDE, SIDE)) + shape * (90.0 * disc.sum() / shape.sum())
    return pixels.clip(0, 255).astype("uint8")[..., None]


def write_shards(folder: Path, seed: int = 0) -> Shards:
    """Writes shards of such images, one a patient, half of them with a cavity."""
    folder.mkdir(parents=True)
    parts, random = [], np.random.default_rng(seed)
    for split, count in COUNTS.items():
        ids, truth = [f"{split}-{number:03d}.png" for number in range(count)], np.arange(count) % 2
        examples = (
            (draw(bool(cavity), random), name, np.array([cavity], "float32"))
            for cavity, name in zip(truth, ids, strict=True)
        )
        write_shard(folder / f"{split}-00000-of-00001.tfrecord", examples)
        columns = {"image_id": ids, "patient_id": ids, "split": split, f"label:{LABEL}": truth.astype("float64")}
        parts.append(pd.DataFrame(columns))
    summary = {"labels": [LABEL], "image_size": SIDE, "network_size": SIZE, "fingerprint": str(seed)}
    write_description(folder, pd.concat(parts, ignore_index=True), Augmentation(), summary)
    return Shards.read(folder)


def write_start(folder: Path, seed: int = 0) -> Path:
    """Saves a network with random weights in the format of feature extraction."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((SIDE, SIDE, 1), dtype="uint8", name="picture")
    outputs = keras.layers.Rescaling(1 / 64, -1.0, dtype="float32", name="normalised")(shrink(image, SIZE))
    for name, filters, strides in (("first", 8, 2), ("second", 12, 2), ("third", 16, 1)):
        convolution = keras.layers.Conv2D(
            filters, 3, strides=strides, padding="same", activation="relu", name=name,
            kernel_initializer=keras.initializers.HeNormal(seed),
        )  # fmt: skip
        outputs = convolution(outputs)
    head = build_classifier(16, 1, dense_units=0, dropout=0.0, l2=0.0, seed=seed)
    network = attach_classifier(build_feature_extractor(keras.Model(image, outputs, name="small")), head)
    names = ("classifier_dropout", "probabilities")
    spec = ModelSpec(SIDE, (LABEL,), "efficientnet_lite0", "none", "", "feature_extraction", head=names)
    artifact.save_model(folder, network, spec, {"epochs": [], "best_epoch": 0, "initial": {}})
    (folder / "settings.json").write_text('{"train_feature_epochs": 20, "train_feature_learning_rate": 0.01}')
    return folder
