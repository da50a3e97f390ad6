"""A training stage in a separate process that can kill itself with SIGKILL, as if its node were lost."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from radiograft.config import FineTune
from radiograft.config.resolution import load_settings_file
from radiograft.config.training import ATTENTION_GUIDED
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.heads import attach_classifier, build_classifier, build_feature_extractor
from radiograft.models.spec import ModelSpec
from radiograft.stages.runtime import stage
from radiograft.training import feature_extraction
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.datasets import fit_covariates, with_patient_data
from tests.helpers.fused import network_for
from tests.helpers.stages import EXTRACT_FEATURES, Trained, run_extract_features, run_fine_tune
from tests.helpers.studies import dual_network

EPOCHS, STEPS = 4, 7  # 58 training images in batches of 8
RECIPE = "schedule=cosine,warm_up=0.2,layer_decay=0.5,ema=0.9,clip_norm=0.5,label_smoothing=0.1,loss_weights=balanced"
FINE_TUNE = FineTune(
    model_cut_off="second",
    train_augmentation="online",
    train_batch_size=8,
    train_fine_tune_epochs=EPOCHS,
    train_fine_tune_learning_rate=0.01,
    train_patience=100,
    train_recipe=RECIPE,
    train_cached_augmentations=2,
)
CHEXNET = dataclasses.replace(
    FineTune.of(load_settings_file("chexnet-pneumonia")),
    model_cut_off="first",
    train_batch_size=8,
    train_fine_tune_epochs=EPOCHS,
)
GUIDED = dataclasses.replace(
    FINE_TUNE, train_augmentation="cached", model_branches=ATTENTION_GUIDED, train_fine_tune_epochs=2
)
SEARCH = dataclasses.replace(FINE_TUNE, model_cut_off="second,third", train_augmentation="cached")
SAMPLES = dataclasses.replace(FINE_TUNE, model_cut_off="conv", train_augmentation="cached")

Run = Callable[[Path, Path, Checkpoints, Path], Trained]
JOINED = dataclasses.replace(EXTRACT_FEATURES, model_feature_layer="all", model_random_baseline=False)
CLASS_MAP = dataclasses.replace(EXTRACT_FEATURES, model_pooling="lse_lba", model_random_baseline=False)
SELF_TRANSFER = dataclasses.replace(CLASS_MAP, model_pooling="self_transfer")
STAGES: dict[str, Run] = {
    "class_map": lambda shards, _, kept, out: run_extract_features(CLASS_MAP, shards, out, kept),
    "extract_features": lambda shards, _, kept, out: run_extract_features(EXTRACT_FEATURES, shards, out, kept),
    "joined_features": lambda shards, _, kept, out: run_extract_features(JOINED, shards, out, kept),
    "search": lambda shards, start, kept, out: run_fine_tune(SEARCH, shards, start, out, kept),
    "chexnet": lambda shards, start, kept, out: run_fine_tune(CHEXNET, shards, start, out, kept),
    "guided": lambda shards, start, kept, out: run_fine_tune(GUIDED, shards, start, out, kept),
    "samples": lambda shards, start, kept, out: run_fine_tune(SAMPLES, shards, start, out, kept),
    "self_transfer": lambda shards, _, kept, out: run_extract_features(SELF_TRANSFER, shards, out, kept),
    "online": lambda shards, start, kept, out: run_fine_tune(FINE_TUNE, shards, start, out, kept),
}


def small_network(
    folder: Path, image_size: int, labels: tuple[str, ...], seed: int = 0, *, normalized: bool = False
) -> Path:
    """Saves a model of three convolutions and a classifier with dropout in the format of feature extraction.

    If `normalized`, each convolution is followed by a BatchNormalization.
    """
    keras.utils.set_random_seed(seed)
    images = keras.Input((image_size, image_size, 1), dtype="uint8")
    outputs = keras.layers.Rescaling(1 / 255)(images)
    for name in ("first", "second", "third"):
        outputs = keras.layers.Conv2D(6, 3, strides=2, activation="relu", name=name)(outputs)
        outputs = keras.layers.BatchNormalization(name=f"{name}_bn")(outputs) if normalized else outputs
    head = build_classifier(6, len(labels), dense_units=8, dropout=0.5, l2=1e-4, seed=seed)
    network = attach_classifier(build_feature_extractor(keras.Model(images, outputs, name="small")), head)
    spec = ModelSpec(image_size, labels, "efficientnet_lite0", "none", cut_off="", strategy="feature_extraction")
    return _save(folder, network, spec)


def sample_network(folder: Path, shards: Path) -> Path:
    """Saves a network of samples: with a lateral branch if the shards have studies, otherwise with patient data."""
    data = Shards.read(shards)
    lateral = "lateral" in data.rows and bool(data.rows["lateral"].notna().any())
    covariates = () if lateral else fit_covariates(data, ("age", "sex", "view"))
    network = dual_network(data) if lateral else network_for(with_patient_data(data, covariates))
    spec = ModelSpec(
        data.image_size, data.labels, "efficientnet_lite0", "none", cut_off="", strategy="feature_extraction",
        covariates=covariates, lateral=lateral,
    )  # fmt: skip
    return _save(folder, network, spec)


def _save(folder: Path, network: keras.Model, spec: ModelSpec) -> Path:
    artifact.save_model(folder, network, spec, {"epochs": [], "best_epoch": 0, "initial": {}})
    (folder / "settings.json").write_text('{"train_feature_epochs": 2}')
    return folder


def die_at(module: str, function: str, call: int) -> None:
    """Replaces the function so that call number `call`, counted from 1, kills this process."""
    owner, calls = importlib.import_module(module), itertools.count(1)
    original = getattr(owner, function)

    def counted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, function, counted)


def run_stage(name: str, shards: str, start: str, kept: str, out: str, *moment: str) -> None:
    """Runs a stage of STAGES with checkpoints in a folder or gs:// prefix.

    Args:
        moment: module, function and number of the call at which this process dies, if any.
    """
    if moment:
        die_at(moment[0], moment[1], int(moment[2]))
    feature_extraction.BATCHES_PER_PIECE = 1
    with stage(name):
        STAGES[name](Path(shards), Path(start), Checkpoints.of_task(kept, "a-run", name), Path(out))
