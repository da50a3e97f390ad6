"""`train_precision` sets the precision of fine-tuning, also if feature extraction used another one."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from radiograft.models import artifact
from radiograft.models.heads import cast_to_policy
from radiograft.training.search import cut_off as search
from tests.helpers.stages import FINE_TUNE, Trained, run_fine_tune


@pytest.fixture(autouse=True)
def float32_afterwards() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


def save_under(policy: str, model: Path, folder: Path) -> Path:
    """Saves the feature-extraction model as a pod with another precision would."""
    shutil.copytree(model, folder)
    keras.config.set_dtype_policy(policy)
    cast_to_policy(artifact.load_model(model)).save(folder / "model.keras")
    return folder


@pytest.mark.parametrize(
    ("saved", "precision", "dtype", "augmentation"),
    [
        ("float32", "mixed_float16", "float16", "cached"),
        ("mixed_float16", "mixed_bfloat16", "bfloat16", "online"),
    ],
)
def test_fine_tune_trains_in_configured_precision(
    saved: str,
    precision: str,
    dtype: str,
    augmentation: str,
    feature_extraction: Trained,
    shards_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails if the layers keep the policy of the file: float16 then trains without loss scaling."""
    start = save_under(saved, feature_extraction.model, tmp_path / "start")
    before = artifact.load_model(feature_extraction.model)
    trained = list[keras.Model]()

    def record_and_train(model: keras.Model, *others: Any) -> Any:
        for layer in model.layers[1:]:
            for actual, expected in zip(layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(actual, expected)
        trained.append(model)
        return original(model, *others)

    original = search.train
    monkeypatch.setattr(search, "train", record_and_train)
    settings = dataclasses.replace(
        FINE_TUNE, train_precision=precision, train_augmentation=augmentation, train_fine_tune_epochs=1
    )
    stage = run_fine_tune(settings, shards_folder, start, tmp_path / "stage")
    (model,) = trained
    dtypes = {name: model.get_layer(name).compute_dtype for name in ("top_conv", "classifier_dense", "probabilities")}
    assert dtypes == {"top_conv": dtype, "classifier_dense": dtype, "probabilities": "float32"}
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (precision == "mixed_float16")
    history = json.loads((stage.model / "history.json").read_text())
    assert np.isfinite(history["epochs"][0]["loss"])
    assert artifact.load_model(stage.model).get_layer("top_conv").compute_dtype == dtype
