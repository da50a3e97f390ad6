"""`train_frozen_engine` reaches the frozen layers of both training stages and is recorded."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from radiograft.config.base import read_settings
from tests.helpers.minimal_run import EXTRACT_FEATURES, FINE_TUNE, replace_backbone
from tests.helpers.stages import run_extract_features, run_fine_tune


def test_stages_run_frozen_layers_by_the_chosen_engine(
    shards_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_backbone(monkeypatch)
    settings = dataclasses.replace(EXTRACT_FEATURES, train_frozen_engine="openvino_bfloat16")
    cached = dataclasses.replace(FINE_TUNE, train_augmentation="cached")

    plain = run_extract_features(EXTRACT_FEATURES, shards_folder, tmp_path / "plain")
    ours = run_extract_features(settings, shards_folder, tmp_path / "ours")
    tuned = run_fine_tune(cached, shards_folder, ours.model, tmp_path / "tuned")
    on_tensorflow = run_fine_tune(
        dataclasses.replace(cached, train_frozen_engine="tensorflow"), shards_folder, ours.model, tmp_path / "other"
    )

    features, expected = (np.load(stage.features / "train.npy").astype("float32") for stage in (ours, plain))
    np.testing.assert_allclose(features, expected, atol=0.02 * expected.max())
    assert (features != expected).any()  # bfloat16 rounds
    engines = [read_settings(stage.model)["train_frozen_engine"] for stage in (plain, ours, tuned, on_tensorflow)]
    assert engines == ["tensorflow", "openvino_bfloat16", "openvino_bfloat16", "tensorflow"]
