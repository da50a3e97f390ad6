"""The presets `cut_offs` and `backbones` give the metrics of the cut-off search and of the backbone comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import keras
import pytest

from radiograft import backbones
from radiograft.config import ExtractFeatures, FineTune, Preprocess
from radiograft.config.base import Scalar
from radiograft.config.resolution import apply_overrides, split_overrides
from radiograft.registry.search_types import SearchResults
from radiograft.registry.training_types import Trial
from radiograft.search import finish, task
from radiograft.search.runner import TrialInputs
from radiograft.stages.ingest import task as ingest
from radiograft.stages.preprocess import task as preprocess
from radiograft.stages.select_model.task import list_backbones
from radiograft.training.search import results as search_results
from tests.helpers.numbers import disk_studies
from tests.helpers.small_search import inputs_in, settings_of
from tests.helpers.stages import run_extract_features, run_fine_tune

SMALL = {"search_strategy": "fine_tuning", "search_seeds": 1, "model_dense_units": 0}


def one_layer(include_top: bool, weights: None, input_tensor: keras.KerasTensor) -> keras.Model:
    """Replaces SqueezeNet."""
    assert not include_top
    assert weights is None
    top = keras.layers.Conv2D(6, 3, strides=4, name="fire9_concat", activation="relu")(input_tensor)
    return keras.Model(keras.utils.get_source_inputs(input_tensor), top)


@pytest.fixture
def second_backbone(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A backbone beside that of all tests of the search."""
    names = {"cut_offs": ("fire9_concat",), "taps": ("fire9_concat",), "default_cut_off": "fire9_concat"}
    small = dataclasses.replace(backbones.get_backbone("squeezenet"), build=one_layer, **names)
    monkeypatch.setitem(backbones._backbones(), "squeezenet", small)
    return "squeezenet"


def run_stages(settings: dict[str, Scalar], shards: Path, folder: Path) -> list[Trial]:
    """Runs both training stages; returns the trials of fine-tuning."""
    start = run_extract_features(ExtractFeatures.of(settings), shards, folder / "features").model
    return search_results.read_trials(run_fine_tune(FineTune.of(settings), shards, start, folder / "tuned").model)


def search(settings: dict[str, Scalar], inputs: TrialInputs) -> list[Trial]:
    """Runs a search; returns its trials."""
    task.run(settings, inputs)
    return [trial.user_attrs["result"] for trial in task.open_study(settings, inputs).trials()]


def test_preset_cut_offs_gives_the_trials_of_the_cut_off_search(
    tmp_path: Path, catalog_folder: Path, shards_folder: Path
) -> None:
    settings = settings_of({"preset": "cut_offs"}, **SMALL)
    searched = search(settings, inputs_in(tmp_path, catalog_folder, shards_folder))
    expected = run_stages({**settings, "model_cut_off": "auto"}, shards_folder, tmp_path)
    assert [trial["overrides"] for trial in expected] == [{"model_cut_off": "stem_conv"}, {"model_cut_off": "top_conv"}]
    assert sorted(searched, key=lambda trial: -trial["trainable_weights"]) == expected


def test_preset_backbones_gives_the_metrics_of_the_backbone_comparison(
    tmp_path: Path, catalog_folder: Path, shards_folder: Path, second_backbone: str
) -> None:
    names = ["efficientnet_lite0", second_backbone]
    settings = settings_of({"preset": "backbones", "model_backbone": names}, **SMALL)
    searched = {
        trial["overrides"].get("model_backbone", names[0]): trial["metrics"]
        for trial in search(settings, inputs_in(tmp_path, catalog_folder, shards_folder))
    }
    assert set(searched) == set(names)
    compared = ExtractFeatures.of({**settings, "compare_backbones": ",".join(names)})
    for overrides in list_backbones(compared):
        candidate = apply_overrides(settings, split_overrides(overrides))
        (trial,) = run_stages(candidate, shards_folder, tmp_path / str(candidate["model_backbone"]))
        assert searched[str(candidate["model_backbone"])] == trial["metrics"]


@pytest.fixture
def disks(tmp_path: Path) -> TrialInputs:
    """Studies of two images each, whose target is a number."""
    ingest.run(disk_studies(tmp_path), tmp_path / "catalog")
    images = Preprocess(image_size=32, image_augmentation="none")
    preprocess.run(images, tmp_path / "catalog", tmp_path / "shards")
    return inputs_in(tmp_path, tmp_path / "catalog", tmp_path / "shards")


def test_search_of_numbers_and_lateral_images_matches_the_stages_and_chooses_by_r2(
    tmp_path: Path, disks: TrialInputs
) -> None:
    data = {"data_format": "table", "data_labels": "diameter", "data_task": "regression", "data_unit": "study"}
    images = {"image_augmentation": "none", "model_patient_data": "sex", "model_views": "frontal_lateral"}
    data["data_table"] = "study=study"
    settings = settings_of({"preset": "cut_offs"}, **SMALL, **data, **images)
    searched = search(settings, disks)
    expected = run_stages({**settings, "model_cut_off": "auto"}, disks.shards, tmp_path)
    assert sorted(searched, key=lambda trial: -trial["trainable_weights"]) == expected
    results: SearchResults = finish.run(settings, disks, tmp_path / "out")
    reached = [trial["metrics"]["val_r2"] for trial in expected]
    assert (results["metric"], results["mode"]) == ("val_r2", "max")
    assert results["finalists"][results["winner"]]["mean"] == max(reached)
    assert results["optimism"] is not None
    assert results["optimism"]["apparent"] == pytest.approx(max(reached))
    assert results["comparison"] == {}
