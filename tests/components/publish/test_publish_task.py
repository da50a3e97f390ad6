"""The publish stage: which files make a version, what its lineage says, and that it starts without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from components.config import Publish
from components.publish import registry, task

ROOT = Path(__file__).parents[3]
SETTINGS = {"image_size": 64, "model_backbone": "densenet121", "train_seed": 3}
METRICS = {
    "published": "fine_tuning",
    "thresholds": {"feature_extraction": {"Pneumonia": 0.25}, "fine_tuning": {"Pneumonia": 0.75}},
    "lineage": {"source": "gs://hospital/films", "fingerprint": "4f" * 32, "settings": SETTINGS},
}
CONTRACT = {"image_size": 64, "labels": ["Pneumonia"], "backbone": "densenet121"}
FILES = {
    "model/contract.json": json.dumps(CONTRACT),
    "model/history.json": "{}",
    "model/model.keras": "keras",
    "model/saved_model/fingerprint.pb": "fingerprint",
    "model/saved_model/saved_model.pb": "graph",
    "model/saved_model/variables/variables.index": "index",
    "evaluation/metrics.json": json.dumps(METRICS),
    "evaluation/predictions.parquet": "predictions",
    "report.html": "<!doctype html>",
}


@pytest.fixture
def inputs(tmp_path: Path) -> task.Inputs:
    """What fine_tune and evaluate leave for publish, with text in place of the networks."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return task.Inputs(tmp_path / "model", tmp_path / "evaluation", tmp_path / "report.html")


@pytest.fixture
def settings(tmp_path: Path) -> Publish:
    return Publish(publish_registry=str(tmp_path / "registry"), publish_model_name="chest")


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_version_holds_what_serves_explains_and_proves_it(
    inputs: task.Inputs, settings: Publish, tmp_path: Path
) -> None:
    assert task.run(settings, inputs, "run-1", tmp_path / "version") == 1
    folder = tmp_path / "registry" / "chest" / "1"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "COMMITTED.json",
        "contract.json",
        "fingerprint.pb",
        "lineage.json",
        "metrics.json",
        "model.keras",
        "predictions.parquet",
        "report.html",
        "saved_model.pb",
        "variables/variables.index",
    }
    assert (folder / "model.keras").read_text() == "keras"
    assert (folder / "saved_model.pb").read_text() == "graph"
    assert (folder / "predictions.parquet").read_text() == "predictions"
    assert (folder / "report.html").read_text() == "<!doctype html>"
    assert _json(folder / "metrics.json") == METRICS
    assert registry.verify(str(tmp_path / "registry"), "chest", 1)["model"] == "chest"


def test_the_contract_gets_the_published_strategys_thresholds(
    inputs: task.Inputs, settings: Publish, tmp_path: Path
) -> None:
    task.run(settings, inputs, "run-1", tmp_path / "version")
    contract = _json(tmp_path / "registry" / "chest" / "1" / "contract.json")
    assert contract == CONTRACT | {"thresholds": {"Pneumonia": 0.75}}


def test_lineage_names_run_data_settings_and_packages(inputs: task.Inputs, settings: Publish, tmp_path: Path) -> None:
    task.run(settings, inputs, "run-1", tmp_path / "version")
    lineage = _json(tmp_path / "registry" / "chest" / "1" / "lineage.json")
    packages = lineage.pop("packages")
    assert lineage == {
        "run_id": "run-1",
        "source": "gs://hospital/films",
        "fingerprint": "4f" * 32,
        "settings": SETTINGS,
    }
    assert packages["keras"] == version("keras")
    assert {"radiograft", "numpy", "kfp"} < set(packages)


def test_the_output_says_where_the_version_lies(inputs: task.Inputs, settings: Publish, tmp_path: Path) -> None:
    task.run(settings, inputs, "run-1", tmp_path / "version")
    found = _json(tmp_path / "version")
    assert found.pop("lineage") == _json(tmp_path / "registry" / "chest" / "1" / "lineage.json")
    assert found == {"model": "chest", "version": 1, "uri": f"{tmp_path}/registry/chest/1"}


def test_a_second_attempt_is_the_same_version_and_a_second_run_the_next(
    inputs: task.Inputs, settings: Publish, tmp_path: Path
) -> None:
    numbers = [task.run(settings, inputs, run, tmp_path / "version") for run in ("run-1", "run-1", "run-2", "run-1")]
    assert numbers == [1, 1, 2, 1]
    assert registry.versions(str(tmp_path / "registry"), "chest") == [1, 2]


@pytest.mark.parametrize("lost", ["model/saved_model/saved_model.pb", "model/model.keras", "evaluation/metrics.json"])
def test_without_its_inputs_nothing_is_published(
    inputs: task.Inputs, settings: Publish, tmp_path: Path, lost: str
) -> None:
    (tmp_path / lost).unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=Path(lost).name):
        task.run(settings, inputs, "run-1", tmp_path / "version")
    assert registry.versions(str(tmp_path / "registry"), "chest") == []
    assert not (tmp_path / "version").exists()


PUBLISH = """
import json, sys
from pathlib import Path
from components.config import Publish
from components.publish import task
folder = Path(sys.argv[1])
inputs = task.Inputs(folder / "model", folder / "evaluation", folder / "report.html")
task.run(Publish(publish_registry=sys.argv[2]), inputs, "run-1", folder / "version")
print(json.dumps(sorted({"keras", "kfp", "tensorflow", "torch"} & set(sys.modules))))
"""


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_publishing_loads_no_tensorflow(inputs: task.Inputs, embedded: str, tmp_path: Path, place: str) -> None:
    target = str(tmp_path / "registry") if place == "folder" else f"{embedded}/{tmp_path.name}"
    command = [sys.executable, "-c", PUBLISH, str(tmp_path), target]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
    assert registry.versions(target, "chest-radiograph") == [1]
