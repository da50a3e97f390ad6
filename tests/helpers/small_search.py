"""Settings of a search with a small network, and the folders of its worker."""

from __future__ import annotations

import json
from pathlib import Path

from radiograft.config.base import Scalar
from radiograft.config.resolution import fill_defaults
from radiograft.search.runner import TrialInputs
from radiograft.training.checkpoints import Checkpoints

SETTINGS: dict[str, Scalar] = {
    "data_source": "/images",
    "data_labels": "Pneumonia,Effusion,Emphysema",
    "publish_registry": "/registry",
    "image_size": 32,
    "model_backbone": "efficientnet_lite0",
    "model_weights": "none",
    "model_cut_off": "top_conv",
    "model_dense_units": 8,
    "train_batch_size": 8,
    "train_cached_augmentations": 2,
    "train_feature_epochs": 3,
    "train_feature_learning_rate": 0.01,
    "train_fine_tune_epochs": 2,
    "train_fine_tune_learning_rate": 0.003,
    "train_patience": 100,
    "search_pruner": "none",
    "search_seeds": 2,
    "search_finalists": 1,
    "search_folds": 3,
    "evaluate_bootstrap_samples": 100,
    "evaluate_min_patients": 1,
}
HEAD = {
    "dense_units": [0, 4, 8, 16],
    "dropout": {"low": 0.0, "high": 0.6},
    "train_feature_learning_rate": [0.001, 0.01, 0.1],
}


def settings_of(space: object, **values: Scalar) -> dict[str, Scalar]:
    return fill_defaults({**SETTINGS, "search_space": json.dumps(space), **values})


def inputs_in(folder: Path, catalog: Path, shards: Path) -> TrialInputs:
    return TrialInputs(catalog, shards, folder / "scratch", folder / "logs", Checkpoints(str(folder / "checkpoints")))
