"""One epoch of a network for frontal and lateral images: cached activations compared with online augmentation."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from radiograft.config import Ingest, Preprocess
from radiograft.data.shards.dataset import Shards
from radiograft.data.synthetic.dataset import generate_phantom_files
from radiograft.models.backbone import build_backbone
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.lateral import add_lateral
from radiograft.models.predictor import Predictor
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.activation_cache import cache_activations
from radiograft.training.datasets import with_views
from tests.benchmarks.epoch import BATCH_SIZE, CACHED_EPOCHS, CUT_OFF, compare_epochs
from tests.benchmarks.row import Row

SIZE = 128  # pixels of both images
PATIENTS = 250


def measure(work: Path) -> list[Row]:
    """Measures seconds per training epoch, without validation and without the first step, which traces the graph."""
    data, network = with_views(Shards.read(_shards(work / "studies")), lateral=True), _build()
    unfreeze_from(network, CUT_OFF)
    cut = split_model(pool_before_concat(network), CUT_OFF)
    for model in (network, cut.suffix):
        model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
    prefix, folder = Predictor(cut.prefix, tf.distribute.get_strategy()), work / "views"
    cached = cache_activations(prefix, data, "train", copies=1, batch_size=BATCH_SIZE, seed=0, folder=folder)
    pairs = int(data.split("train")["lateral"].notna().sum())
    how = (
        f"DenseNet-121 for frontal and lateral images at {SIZE} px from {CUT_OFF}; {pairs} of the studies have a "
        "lateral image. Theirs: both branches with online augmentation."
    )
    return [compare_epochs("views", (cut.suffix, cached), (network, data), how, None, CACHED_EPOCHS)]


def _shards(work: Path) -> Path:
    """Draws studies of the phantom and returns their shards."""
    folder = work / "phantom" / f"phantom-{PATIENTS}-patients-seed-0-studies"
    for name, content in generate_phantom_files(PATIENTS, seed=0, size=SIZE, laterals=True):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    settings = Ingest(
        data_format="phantom", data_source=str(folder.parent), data_phantom_patients=PATIENTS, data_unit="study",
        data_labels="Pneumonia",
    )  # fmt: skip
    ingest.run(settings, work / "catalog")
    preprocess.run(Preprocess(image_size=SIZE), work / "catalog", work / "shards")
    return work / "shards"


def _build() -> keras.Model:
    features = add_lateral(build_feature_extractor(build_backbone("densenet121", "none", "", SIZE)))
    channels = features.output.shape[-1]
    return attach_classifier(features, build_classifier(channels, 1, dense_units=256, dropout=0.5, l2=1e-4, seed=0))
