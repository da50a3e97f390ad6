"""The search as tasks of a pipeline: two workers share a study, and the winner is trained like any other run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from radiograft.config import ExtractFeatures, Preprocess
from radiograft.config.base import Scalar, read_settings
from radiograft.config.resolution import resolve_trial
from radiograft.data.shards.dataset import Shards
from radiograft.registry.search_types import SearchResults
from radiograft.search import stage
from radiograft.search.finish import best_settings, winner_settings
from radiograft.stages.preprocess import task as preprocess
from radiograft.training.checkpoints import Checkpoints
from radiograft.training.history import History
from tests.helpers.small_search import HEAD, inputs_in, settings_of
from tests.helpers.stages import run_extract_features
from tests.helpers.tensorboard_events import read_hparams

SETTINGS = settings_of(HEAD, search_trials=4, search_workers=2, search_seeds=1, model_patient_data="age,sex")


class Chosen(NamedTuple):
    """What both workers and the choice wrote."""

    workers: list[dict[str, float]]
    results: SearchResults
    folder: Path


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory, catalog_folder: Path, shards_folder: Path) -> Chosen:
    """Two workers, of which the logs of one trial are lost, and the choice."""
    folder = tmp_path_factory.mktemp("pods")
    folders = stage.SearchFolders(catalog_folder, shards_folder, Checkpoints(str(folder / "checkpoints")))
    outputs = [folder / "0", folder / "1"]
    workers = [stage.run_worker(SETTINGS, folders, number, output) for number, output in enumerate(outputs)]
    shutil.rmtree(folder / "0" / "tensorboard" / "trial-0001")
    results = stage.choose(SETTINGS, folders, outputs, folder / "search", folder / "shards")
    return Chosen(workers, results, folder)


def test_run_worker_after_another_finds_no_trial_and_writes_its_metrics(chosen: Chosen) -> None:
    first, second = chosen.workers
    assert (first["trials"], second["trials"]) == (4, 0)
    assert first["best_so_far"] == second["best_so_far"] == first["best_of_worker"]
    assert json.loads((chosen.folder / "1" / "worker.json").read_text()) == {"worker": 1, **second}


def test_choose_collects_logs_and_restores_lost_hparams(chosen: Chosen) -> None:
    for row in chosen.results["trials"]:
        folder = chosen.folder / "search" / "tensorboard" / f"trial-{row['number']:04d}"
        values, metric = read_hparams(folder, "val_auroc")
        assert values == pytest.approx(row["values"])
        assert metric == pytest.approx(row["metric"])


def test_choose_winner_trains_to_the_metric_of_the_finalist(chosen: Chosen, tmp_path: Path) -> None:
    """The tasks after the search get shards and settings of the winner."""
    files = {name: str(tmp_path / name) for name in ("extract_features_settings", "fine_tune_settings")}
    stage.write_winner(chosen.folder / "search", chosen.folder / "shards", tmp_path / "report.html", files)
    settings = ExtractFeatures.from_json((tmp_path / "extract_features_settings").read_text())
    assert settings == ExtractFeatures.of(winner_settings(SETTINGS, chosen.results))
    trained = run_extract_features(settings, chosen.folder / "shards", tmp_path / "features")
    history = History(**json.loads((trained.model / "history.json").read_text()))
    finalist = chosen.results["finalists"][chosen.results["winner"]]
    assert history.best["val_auroc"] == finalist["metrics"][0]
    assert (tmp_path / "report.html").read_text() == (chosen.folder / "search" / "search.html").read_text()
    assert {path.name for path in tmp_path.iterdir()} >= {*files, "report.html"}


def test_choice_metrics_are_those_of_winner_and_defaults(chosen: Chosen) -> None:
    metrics, finalists = stage.choice_metrics(chosen.results), chosen.results["finalists"]
    assert (metrics["trials"], metrics["trials_complete"]) == (4, 4)
    assert metrics["mean_of_defaults"] == finalists[0]["mean"]
    assert metrics["mean_of_winner"] == max(finalist["mean"] for finalist in finalists)
    assert max(map(len, metrics)) <= 20


def test_write_shards_other_size_and_augmentation_equal_those_of_preprocess(
    tmp_path: Path, catalog_folder: Path, shards_folder: Path
) -> None:
    values: dict[str, Scalar] = {"image_size": 64, "image_augmentation.rotation_range": 30.0, "model_dropout": 0.25}
    winner = resolve_trial(SETTINGS, values)
    stage.write_shards(SETTINGS, winner, inputs_in(tmp_path, catalog_folder, shards_folder), tmp_path / "best")
    preprocess.run(Preprocess.of(winner), catalog_folder, tmp_path / "expected")
    written, expected = Shards.read(tmp_path / "best"), Shards.read(tmp_path / "expected")
    assert written.identity() == expected.identity()
    assert (written.image_size, written.augmentation.rotation_range) == (64, 30.0)
    assert {path.name for path in (tmp_path / "best").iterdir()} == {
        path.name for path in (tmp_path / "expected").iterdir()
    }
    assert read_settings(tmp_path / "best")["model_dropout"] == 0.25


def test_write_shards_equal_size_copies_images_with_other_augmentation(
    tmp_path: Path, catalog_folder: Path, shards_folder: Path
) -> None:
    winner = resolve_trial(SETTINGS, {"image_augmentation.rotation_range": 30.0})
    stage.write_shards(SETTINGS, winner, inputs_in(tmp_path, catalog_folder, shards_folder), tmp_path / "best")
    written, source = Shards.read(tmp_path / "best"), Shards.read(shards_folder)
    assert written.identity() != source.identity()
    assert written.augmentation == dataclasses.replace(source.augmentation, rotation_range=30.0)
    for records in shards_folder.glob("*.tfrecord"):
        assert (tmp_path / "best" / records.name).read_bytes() == records.read_bytes()


def test_best_settings_other_backbone_has_its_own_cut_off(chosen: Chosen) -> None:
    finalist = {**chosen.results["finalists"][0], "overrides": {"model_backbone": "resnet50", "model_l2": 0.01}}
    results = {**chosen.results, "finalists": [finalist], "winner": 0}
    text = best_settings(SETTINGS, results)  # type: ignore[arg-type]
    assert "model_backbone: resnet50\nmodel_cut_off: conv5_block3_3_conv\n" in text
    assert "model_l2: 0.01\n" in text
