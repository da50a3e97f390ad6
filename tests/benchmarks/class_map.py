"""One epoch of a head that pools a class map: on the stored last activation, against the frozen network online."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from radiograft.config.network import MapPooling
from radiograft.data.shards.dataset import Shards
from radiograft.models.backbone import build_backbone
from radiograft.models.class_maps import build_class_map_classifier
from radiograft.models.heads import attach_classifier
from radiograft.models.predictor import Predictor
from radiograft.training.activation_cache import cache_activations
from tests.benchmarks import films
from tests.benchmarks.epoch import BATCH_SIZE, compare_epochs
from tests.benchmarks.row import Row

CACHED_EPOCHS = 5  # per turn
FLOOR = 10


def measure(work: Path) -> list[Row]:
    """Measures seconds per training epoch, without validation and without the first step, which traces the graph."""
    data, backbone = Shards.read(films.shards(work)), build_backbone("densenet121", "none", "", films.SIDE)
    backbone.trainable = False
    last = backbone.output
    head = build_class_map_classifier(
        last.shape[1:], 1, MapPooling("lse", 10.0), dense_units=0, dropout=0.5, l2=1e-4, seed=0
    )
    network = attach_classifier(keras.Model(backbone.input, last, name="densenet_features"), head)
    on_map = keras.Model(last, network.output)
    for model in (network, on_map):
        model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
    prefix = Predictor(keras.Model(backbone.input, last), tf.distribute.get_strategy())
    cached = cache_activations(prefix, data, "train", copies=0, batch_size=BATCH_SIZE, seed=0, folder=work / "maps")
    how = (
        f"Log-sum-exp head on DenseNet-121 at {films.SIDE} px. Theirs: the frozen network and the head on augmented "
        "images; the cut-off is the head."
    )
    return [compare_epochs("class_map", (on_map, cached), (network, data), how, FLOOR, CACHED_EPOCHS)]
