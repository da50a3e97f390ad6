"""The fine-tune stage on a small dataset."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from radiograft.config.base import read_settings
from radiograft.data.shards.dataset import Shards
from radiograft.models import artifact
from radiograft.models.spec import ModelSpec
from radiograft.training import activation_cache
from radiograft.training.tasks.multilabel import validation_metrics
from tests.helpers.stages import FINE_TUNE, Trained, run_fine_tune
from tests.helpers.tensorboard_events import scalars


def changed_layers(one: keras.Model, other: keras.Model) -> list[str]:
    pairs = zip(one.layers, other.layers, strict=True)
    return [
        layer.name
        for layer, after in pairs
        if any((old != new).any() for old, new in zip(layer.get_weights(), after.get_weights(), strict=True))
        and layer.name != "classifier_dropout"  # which has a random state
    ]


def test_fine_tune_writes_model_and_saved_model(fine_tuning: Trained) -> None:
    assert sorted(path.name for path in fine_tuning.model.iterdir()) == [
        *("contract.json", "history.json", "model.keras", "saved_model", "search.json", "settings.json")
    ]
    assert (fine_tuning.model / "saved_model" / "saved_model.pb").stat().st_size > 0
    assert [path.name for path in fine_tuning.logs.iterdir()] == ["fine_tuning"]


def test_fine_tune_changes_only_layers_from_cut_off(feature_extraction: Trained, fine_tuning: Trained) -> None:
    before, after = (artifact.load_model(stage.model) for stage in (feature_extraction, fine_tuning))
    assert changed_layers(before, after) == ["top_conv", "classifier_dense", "probabilities"]


def test_fine_tune_starts_from_feature_extraction_and_keeps_best_epoch(
    feature_extraction: Trained, fine_tuning: Trained, shards_folder: Path
) -> None:
    history = json.loads((fine_tuning.model / "history.json").read_text())
    rows = [history["initial"], *history["epochs"]]
    assert history["best_epoch"] == int(np.argmax([row["val_auroc"] for row in rows])) > 0
    data = Shards.read(shards_folder)
    images = np.concatenate(list(data.images("validation", 64)))
    for stage, row in ((feature_extraction, rows[0]), (fine_tuning, rows[history["best_epoch"]])):
        scores = np.asarray(artifact.load_model(stage.model)(images, training=False))
        metrics = validation_metrics(data.truth("validation"), scores)
        assert metrics == pytest.approx(
            {name: row[name] for name in metrics}, abs=1e-3
        )  # activations are cached in half precision


def test_fine_tune_records_spec_and_settings_of_all_stages(fine_tuning: Trained, feature_extraction: Trained) -> None:
    start = ModelSpec.read(feature_extraction.model)
    assert ModelSpec.read(fine_tuning.model) == dataclasses.replace(start, cut_off="top_conv", strategy="fine_tuning")
    recorded = read_settings(fine_tuning.model)
    assert recorded["train_fine_tune_epochs"] == 2
    assert recorded["model_dense_units"] == 16
    assert recorded["image_size"] == 32


def test_fine_tune_logs_accuracy_and_loss_to_tensorboard(fine_tuning: Trained) -> None:
    history = json.loads((fine_tuning.model / "history.json").read_text())["epochs"]
    for run, prefix in (("train", ""), ("validation", "val_")):
        curves = scalars(fine_tuning.logs / "fine_tuning" / run)
        assert curves["epoch_loss"] == pytest.approx([row[f"{prefix}loss"] for row in history], abs=1e-6)
        assert curves["epoch_accuracy"] == pytest.approx([row[f"{prefix}accuracy"] for row in history], abs=1e-6)


def test_fine_tune_same_seed_gives_same_weights(
    fine_tuning: Trained, feature_extraction: Trained, shards_folder: Path, tmp_path: Path
) -> None:
    second = run_fine_tune(FINE_TUNE, shards_folder, feature_extraction.model, tmp_path)
    assert (second.model / "history.json").read_text() == (fine_tuning.model / "history.json").read_text()
    weights = (artifact.load_model(stage.model).get_weights() for stage in (fine_tuning, second))
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_cut_off": "top_activation"}, "must leave weights of the backbone to train"),
        ({"model_cut_off": "topconv"}, r"got 'topconv'; did you mean 'top_conv'"),
    ],
)
def test_fine_tune_invalid_setting_raises_before_work(
    changes: dict[str, str | int],
    message: str,
    feature_extraction: Trained,
    shards_folder: Path,
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=message):
        run_fine_tune(dataclasses.replace(FINE_TUNE, **changes), shards_folder, feature_extraction.model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_fine_tune_cache_larger_than_disk_raises_before_work(
    feature_extraction: Trained,
    shards_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The cache has 320 half-precision channels for four copies of 58 images and one copy of 39 images."""
    caplog.set_level(logging.DEBUG, "radiograft")
    needed = 2 * 320 * (4 * 58 + 39)
    full = shutil.disk_usage(tmp_path)._replace(free=needed - 1)
    monkeypatch.setattr(activation_cache.shutil, "disk_usage", lambda path: full)
    with pytest.raises(
        OSError, match=r"train_augmentation=cached must fit on the scratch disk: the cache needs 0\.2 MB"
    ):
        run_fine_tune(
            dataclasses.replace(FINE_TUNE, train_augmentation="cached"),
            shards_folder,
            feature_extraction.model,
            tmp_path,
        )
    assert list(tmp_path.iterdir()) == []
    assert "through the frozen layers" not in caplog.text
