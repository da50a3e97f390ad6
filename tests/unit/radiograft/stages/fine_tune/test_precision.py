"""`train_precision` decides how fine-tuning computes, whatever the precision of the feature extraction before it."""

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


def stored_under(policy: str, model: Path, folder: Path) -> Path:
    """The feature-extraction model as a pod of another precision would have written it."""
    shutil.copytree(model, folder)
    keras.config.set_dtype_policy(policy)
    cast_to_policy(artifact.load_model(model)).save(folder / "model.keras")
    return folder


@pytest.mark.parametrize(
    ("stored", "wanted", "computed", "augmentation"),
    [
        ("float32", "mixed_float16", "float16", "cached"),
        ("mixed_float16", "mixed_bfloat16", "bfloat16", "online"),
    ],
)
def test_it_trains_in_the_precision_asked_for(
    stored: str,
    wanted: str,
    computed: str,
    augmentation: str,
    feature_extraction: Trained,
    shards_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fails where the layers keep the policy of the file: float16 then trains without a scaled loss."""
    start = stored_under(stored, feature_extraction.model, tmp_path / "start")
    before = artifact.load_model(feature_extraction.model)
    trained = list[keras.Model]()

    def watched(model: keras.Model, *others: Any) -> Any:
        for layer in model.layers[1:]:
            for mine, theirs in zip(layer.get_weights(), before.get_layer(layer.name).get_weights(), strict=True):
                np.testing.assert_array_equal(mine, theirs)
        trained.append(model)
        return original(model, *others)

    original = search.train
    monkeypatch.setattr(search, "train", watched)
    settings = dataclasses.replace(
        FINE_TUNE, train_precision=wanted, train_augmentation=augmentation, train_fine_tune_epochs=1
    )
    stage = run_fine_tune(settings, shards_folder, start, tmp_path / "stage")
    (model,) = trained
    dtypes = {name: model.get_layer(name).compute_dtype for name in ("top_conv", "classifier_dense", "probabilities")}
    assert dtypes == {"top_conv": computed, "classifier_dense": computed, "probabilities": "float32"}
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (wanted == "mixed_float16")
    history = json.loads((stage.model / "history.json").read_text())
    assert np.isfinite(history["epochs"][0]["loss"])
    assert artifact.load_model(stage.model).get_layer("top_conv").compute_dtype == computed
