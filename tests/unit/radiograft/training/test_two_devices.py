"""Two devices give what one gives, on two logical CPU devices in a process of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.two_devices import features
from tests.repository import ROOT

Results = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def results(shards_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    out = tmp_path_factory.mktemp("two_devices") / "results.json"
    command = [sys.executable, "-m", "tests.helpers.two_devices", str(shards_folder), str(out)]
    subprocess.run(command, cwd=ROOT, check=True)
    loaded: Results = json.loads(out.read_text())
    return loaded


WORKS = ["classifier", "few_validation_images", "unknown_labels", "on_activations", "fine_tuned"]


@pytest.mark.parametrize("work", WORKS)
def test_training_on_two_devices_is_training_on_one(results: Results, work: str) -> None:
    one, two = results[work]["one"], results[work]["two"]
    assert [row["epoch"] for row in one["epochs"]] == [row["epoch"] for row in two["epochs"]]
    assert one["best_epoch"] == two["best_epoch"]
    for row, other in zip([one["initial"], *one["epochs"]], [two["initial"], *two["epochs"]], strict=True):
        assert row == pytest.approx(other, abs=1e-4)
    for weight, other in zip(one["weights"], two["weights"], strict=True):
        np.testing.assert_allclose(weight, other, atol=1e-4)


@pytest.mark.parametrize("work", WORKS)
def test_training_has_taken_place(results: Results, work: str) -> None:
    losses = [row["loss"] for row in results[work]["two"]["epochs"]]
    assert losses[0] - losses[2] > 0.002


def test_predictions_are_streamed_on_two_devices_as_on_one(results: Results) -> None:
    one, two = (np.array(results["fine_tuned"][count]["predictions"]) for count in ("one", "two"))
    assert one.shape == (31, 3)  # three batches of 8 and one of 7
    np.testing.assert_allclose(two, one, atol=1e-5)


@pytest.mark.parametrize("count", ["one", "two"])
def test_batches_that_do_not_divide_come_back_whole_and_in_order(results: Results, count: str) -> None:
    parts = results["streamed"][count]["parts"]
    assert [len(part) for part in parts] == [3, 3, 1]
    given = features(7, 4)
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate([given.parts[0][0], given.truth], axis=1))


@pytest.mark.parametrize("count", ["one", "two"])
def test_evaluation_leaves_its_data_alone(results: Results, count: str) -> None:
    again = results["evaluated_again"][count]
    assert again["unchanged"]
    assert again["answers"] == [0.0] * 4


@pytest.mark.parametrize("method", ["grad_cam", "layer_cam"])
def test_heat_maps_of_two_devices_are_those_of_one(results: Results, method: str) -> None:
    one, two = (results["heat_maps"][count][method] for count in ("one", "two"))
    assert [len(part) for part in two] == [3, 3, 1]
    assert np.concatenate(one).max() > 0.5
    np.testing.assert_allclose(np.concatenate(two), np.concatenate(one), atol=1e-4)
