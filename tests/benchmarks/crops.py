"""One epoch of the local branch of an attention-guided network: cached activations compared with online crops."""

from __future__ import annotations

from pathlib import Path

import keras
import tensorflow as tf

from radiograft.data.shards.dataset import Shards
from radiograft.models import branches
from radiograft.models.attention import copy_network, insert
from radiograft.models.backbone import build_backbone
from radiograft.models.branches import LOCAL
from radiograft.models.cut_offs import unfreeze_from
from radiograft.models.graph_split import pool_before_concat, split_model
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.predictor import Predictor
from radiograft.models.spec import DEFAULT_NAMES
from radiograft.training.activation_cache import cache_activations
from tests.benchmarks import films
from tests.benchmarks.epoch import BATCH_SIZE, CACHED_EPOCHS, CUT_OFF, compare_epochs
from tests.benchmarks.row import Row

SIZE = 128  # of what both branches read


def measure(work: Path) -> list[Row]:
    """Measures seconds per training epoch, without validation and without the first step, which traces the graph."""
    data, network = Shards.read(films.shards(work)), _build()
    network.trainable = False
    tensors, local = branches.find_crop(network, DEFAULT_NAMES), branches.copy_branch(network, LOCAL)
    unfreeze_from(local, LOCAL + CUT_OFF)
    split = split_model(pool_before_concat(local), LOCAL + CUT_OFF)
    prefix = branches.build_prefix(tensors, split, None, network)
    online = copy_network(keras.Model(tensors.image, insert(local, tensors.crop, "online")))
    for model in (online, split.suffix):
        model.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
    predictor = Predictor(prefix, tf.distribute.get_strategy())
    folder = work / "crops"
    cached = cache_activations(predictor, data, "train", copies=1, batch_size=BATCH_SIZE, seed=0, folder=folder)
    cached.parts.pop(0)  # the features of the global branch, which the fusion reads
    how = (
        f"Local branch of an attention-guided DenseNet-121 at {SIZE} px, crops of images of {films.SIDE} px, from "
        f"{CUT_OFF}. Theirs: both branches with online augmentation."
    )
    return [compare_epochs("crops", (split.suffix, cached), (online, data), how, None, CACHED_EPOCHS)]


def _build() -> keras.Model:
    backbone = build_backbone("densenet121", "none", "", SIZE, stored_size=films.SIDE)
    features = build_feature_extractor(backbone)
    channels = features.output.shape[-1]
    return attach_classifier(features, build_classifier(channels, 1, dense_units=256, dropout=0.5, l2=1e-4, seed=0))
