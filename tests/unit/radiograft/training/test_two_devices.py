"""Two devices give the same results as one, on two logical CPU devices in a subprocess."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radiograft.config import Preprocess
from radiograft.config.base import record_settings
from radiograft.stages.preprocess import task as preprocess
from tests.helpers.colors import GREEN, RED, catalog_of, disk
from tests.helpers.images import encode
from tests.helpers.two_devices import features
from tests.repository import ROOT

Results = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def results(shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_works(shards_folder, tmp_path_factory.mktemp("two_devices") / "results.json")


def run_works(shards: Path, out: Path, *works: str) -> Results:
    command = [sys.executable, "-m", "tests.helpers.two_devices", str(shards), str(out), *works]
    subprocess.run(command, cwd=ROOT, check=True)
    loaded: Results = json.loads(out.read_text())
    return loaded


CASES = [
    *("classifier", "few_validation_images", "unknown_labels", "exclusive_classes", "on_activations"),
    *("on_class_map", "two_heads", "on_joined_features", "on_patient_data", "fine_tuned", "batch_norm"),
]


@pytest.fixture(scope="module")
def color_results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results on twenty images in color in each split, whose hue and saturation are augmented."""
    folder = tmp_path_factory.mktemp("two_devices_color")
    files = {f"{number}.png": encode(disk((RED, GREEN)[number % 2], number)) for number in range(60)}
    catalog = catalog_of(files, folder / "images", [1.0, 0.0] * 30)
    rows = catalog.rows.assign(**{"label:Green": 1 - catalog.rows["label:Red"]})
    dataclasses.replace(catalog, rows=rows, labels=("Red", "Green")).write(folder / "catalog")
    record_settings(folder / "catalog", Preprocess())
    settings = Preprocess(image_size=32, image_augmentation="rotation_range=10,hue_range=0.1,saturation_range=0.5:1.5")
    preprocess.run(settings, folder / "catalog", folder / "shards")
    return run_works(folder / "shards", folder / "results.json", "on_activations", "fine_tuned", "heat_maps")


@pytest.mark.parametrize("case", CASES)
def test_train_on_two_devices_matches_one(results: Results, case: str) -> None:
    one, two = results[case]["one"], results[case]["two"]
    assert [row["epoch"] for row in one["epochs"]] == [row["epoch"] for row in two["epochs"]]
    assert one["best_epoch"] == two["best_epoch"]
    for row, other in zip([one["initial"], *one["epochs"]], [two["initial"], *two["epochs"]], strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    for weight, other in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_train_on_two_devices_reduces_loss(results: Results, case: str) -> None:
    losses = [row["loss"] for row in results[case]["two"]["epochs"]]
    assert losses[0] - losses[2] > 0.002


def test_train_batch_norm_on_two_devices_has_statistics_of_whole_batches(results: Results) -> None:
    """Fails if each device normalizes its part of a batch, or keeps statistics of its own."""
    one, two = results["batch_norm"]["one"], results["batch_norm"]["two"]
    for statistic, other in zip(one["tuned_bn"], two["tuned_bn"], strict=True):
        np.testing.assert_allclose(other, statistic, rtol=1e-4, atol=1e-6)
    assert np.abs(np.array(one["tuned_bn"]) - [[0.0] * 4, [1.0] * 4]).min() > 1e-3
    assert one["frozen_bn"] == two["frozen_bn"] == [[0.0] * 4, [1.0] * 4]


def test_attention_guided_on_two_devices_matches_one(results: Results) -> None:
    one, two = results["attention_guided"]["one"], results["attention_guided"]["two"]
    assert one["boxes"] == two["boxes"]
    assert len({tuple(box) for box in one["boxes"]}) > 2
    for row, other in zip(one["stages"], two["stages"], strict=True):
        assert row["best_epoch"] > 0
        assert row == pytest.approx(other, abs=1e-3)
    np.testing.assert_allclose(one["predictions"], two["predictions"], atol=1e-3)


def test_predictor_on_two_devices_matches_one(results: Results) -> None:
    one, two = (np.array(results["fine_tuned"][count]["predictions"]) for count in ("one", "two"))
    assert one.shape == (31, 3)  # three batches of 8 and one of 7
    np.testing.assert_allclose(two, one, atol=1e-5)


@pytest.mark.parametrize("count", ["one", "two"])
def test_predictor_batches_of_odd_size_keep_all_rows_in_order(results: Results, count: str) -> None:
    parts = results["streamed"][count]["parts"]
    assert [len(part) for part in parts] == [3, 3, 1]
    data = features(7, 4)
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate([data.parts[0][0], data.truth], axis=1))


@pytest.mark.parametrize("count", ["one", "two"])
def test_predictor_does_not_modify_its_inputs(results: Results, count: str) -> None:
    repeated = results["evaluated_again"][count]
    assert repeated["unchanged"]
    assert repeated["answers"] == [0.0] * 4


@pytest.mark.parametrize("method", ["grad_cam", "layer_cam"])
def test_heat_maps_on_two_devices_match_one(results: Results, method: str) -> None:
    one, two = (results["heat_maps"][count][method] for count in ("one", "two"))
    assert [len(part) for part in two] == [3, 3, 1]
    assert np.concatenate(one).max() > 0.5
    np.testing.assert_allclose(np.concatenate(two), np.concatenate(one), atol=1e-4)


def test_heat_maps_of_class_map_on_two_devices_match_one(results: Results) -> None:
    one, two = (np.array(results["on_class_map"][count]["heat"]) for count in ("one", "two"))
    assert one.shape == (7, 3, 7, 7)  # Grad-CAM, LayerCAM and class map
    np.testing.assert_allclose(two, one, atol=1e-4)


@pytest.mark.parametrize("case", ["on_activations", "fine_tuned"])
def test_train_in_color_on_two_devices_matches_one(color_results: Results, case: str) -> None:
    one, two = color_results[case]["one"], color_results[case]["two"]
    for row, other in zip([one["initial"], *one["epochs"]], [two["initial"], *two["epochs"]], strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    for weight, other in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


def test_heat_maps_in_color_on_two_devices_match_one(color_results: Results) -> None:
    one, two = (np.concatenate(color_results["heat_maps"][count]["grad_cam"]) for count in ("one", "two"))
    np.testing.assert_allclose(two, one, atol=1e-4)
