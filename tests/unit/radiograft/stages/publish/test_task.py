"""The publish stage: files and lineage of a version, promotion, retries, and no import of TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from radiograft import storage
from radiograft.config import Publish
from radiograft.models.spec import ModelSpec
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.stages.publish import task
from tests.helpers.publish_inputs import METRICS, SETTINGS, SPEC, write_inputs
from tests.repository import ROOT


@pytest.fixture
def inputs(tmp_path: Path) -> task.PublishInputs:
    return write_inputs(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Publish:
    return Publish(publish_registry=str(tmp_path / "registry"), publish_model_name="chest")


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_publish_version_holds_all_files(inputs: task.PublishInputs, settings: Publish, tmp_path: Path) -> None:
    assert task.run(settings, inputs, "run-1", tmp_path / "version").version == 1
    folder = tmp_path / "registry" / "chest" / "1"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "assets.extra/contract.json",
        "assets.extra/history.json",
        "assets.extra/lineage.json",
        "assets.extra/metrics.json",
        "assets.extra/model.keras",
        "assets.extra/model_card.md",
        "assets.extra/predictions.parquet",
        "assets.extra/report.html",
        "assets.extra/sample/0.png",
        "fingerprint.pb",
        "manifest.json",
        "saved_model.pb",
        "variables/variables.index",
    }
    extra = folder / "assets.extra"
    assert (extra / "model.keras").read_text() == "keras"
    assert (folder / "saved_model.pb").read_text() == "graph"
    assert (extra / "predictions.parquet").read_text() == "predictions"
    assert (extra / "report.html").read_text() == "<!doctype html>"
    assert _read_json(extra / "metrics.json") == METRICS
    assert registry.verify_version(str(tmp_path / "registry"), "chest", 1)["model"] == "chest"


def test_publish_contract_holds_thresholds_of_published_strategy(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path
) -> None:
    task.run(settings, inputs, "run-1", tmp_path / "version")
    spec = ModelSpec.read(tmp_path / "registry" / "chest" / "1" / "assets.extra")
    assert spec == dataclasses.replace(SPEC, thresholds={"Pneumonia": 0.75})


def test_publish_lineage_holds_run_data_settings_code_and_parent(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIOGRAFT_COMMIT", "c0ffee")
    monkeypatch.setenv("RADIOGRAFT_RUNNING_IMAGE", "registry.example/trainer@sha256:00")
    for run in ("run-1", "run-2"):
        task.run(settings, inputs, run, tmp_path / "version")
    first, second = (
        _read_json(tmp_path / "registry" / "chest" / number / "assets.extra" / "lineage.json") for number in ("1", "2")
    )
    packages = first.pop("packages")
    assert first | {"created": ""} == {
        "run_id": "run-1",
        "created": "",
        "parent": None,
        "source": "gs://hospital/films",
        "fingerprint": "4f" * 32,
        "settings": SETTINGS,
        "seeds": {"train_seed": 3},
        "code": {"version": version("radiograft"), "commit": "c0ffee"},
        "image": "registry.example/trainer@sha256:00",
    }
    assert packages["keras"] == version("keras")
    assert {"numpy", "kfp"} < set(packages)
    assert second["parent"] == 1


def test_publish_lineage_without_commit_variable_reads_git(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RADIOGRAFT_COMMIT", raising=False)
    if not (ROOT / ".git").exists():
        pytest.skip("the sources are not a git repository")
    task.run(settings, inputs, "run-1", tmp_path / "version")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    commit = _read_json(tmp_path / "version")["lineage"]["code"]["commit"]
    assert commit.removesuffix("-dirty") == head.strip()


def test_publish_output_holds_uri_and_standing(inputs: task.PublishInputs, settings: Publish, tmp_path: Path) -> None:
    task.run(settings, inputs, "run-1", tmp_path / "version")
    output = _read_json(tmp_path / "version")
    assert output.pop("lineage") == _read_json(tmp_path / "registry" / "chest" / "1" / "assets.extra" / "lineage.json")
    assert output == {
        "model": "chest",
        "version": 1,
        "uri": f"{tmp_path}/registry/chest/1",
        "promoted": True,
        "standing": "production",
        "reason": "the lower bound is above the floor",
        "tensorboard": None,
        "registered": None,
    }


def _publish(settings: Publish, folder: Path, run_id: str, **gate: Any) -> task.PublishResult:
    return task.run(settings, write_inputs(folder, **gate), run_id, folder / "version")


def _in_production(settings: Publish) -> int | None:
    current = production.read_production(settings.publish_registry, settings.publish_model_name)
    return current.version if current else None


def test_publish_approved_version_becomes_production(settings: Publish, tmp_path: Path) -> None:
    first = _publish(settings, tmp_path, "run-1")
    second = _publish(settings, tmp_path, "run-2", champion=1, reasons=["better", "and above the floor"])
    assert (first.promoted, second) == (True, task.PublishResult(2, True, "better; and above the floor"))
    current = production.read_production(settings.publish_registry, "chest")
    assert current is not None
    assert [(change.version, change.run_id) for change in current.history] == [(1, "run-1"), (2, "run-2")]
    assert current.history[1].reason == "better; and above the floor"


def test_publish_gate_external_leaves_approved_version_a_candidate(settings: Publish, tmp_path: Path) -> None:
    required = dataclasses.replace(settings, gate_external="covid=0.7,nih=0.6")
    result = task.run(required, write_inputs(tmp_path), "run-1", tmp_path / "version.json")
    root = settings.publish_registry
    assert not result.promoted
    assert production.read_production(root, "chest") is None
    assert result.reason == (
        "the gate approved it, and gate_external requires covid=0.7,nih=0.6: run `radiograft evaluate --registry "
        f"{root} --model chest --version 1 --name NAME --source ...` for covid, nih, then `radiograft models promote 1 "
        f"--registry {root} --model chest`"
    )


def test_publish_rejected_version_is_candidate_with_reason(settings: Publish, tmp_path: Path) -> None:
    _publish(settings, tmp_path, "run-1")
    outcome = _publish(settings, tmp_path, "run-2", champion=1, promote=False, reasons=["worse"])
    assert outcome == task.PublishResult(2, False, "worse")
    assert outcome.standing == "candidate"
    assert _in_production(settings) == 1
    assert registry.list_versions(settings.publish_registry, "chest") == [1, 2]


@pytest.mark.parametrize("champion", [None, 1])
def test_publish_production_changed_stays_candidate(settings: Publish, tmp_path: Path, champion: int | None) -> None:
    for number in (1, 2):
        _publish(settings, tmp_path, f"run-{number}", champion=number - 1 or None)
    outcome = _publish(settings, tmp_path, "run-3", champion=champion)
    expected = f"version {champion}" if champion else "no version"
    assert outcome == task.PublishResult(
        3,
        False,
        f"production changed: expected {expected} in production, got version 2; run the pipeline again",
    )
    assert _in_production(settings) == 2


def test_publish_retry_after_promotion_returns_same_result(settings: Publish, tmp_path: Path) -> None:
    first = _publish(settings, tmp_path, "run-1")
    _publish(settings, tmp_path, "run-2", champion=1)
    assert _publish(settings, tmp_path, "run-1") == first
    assert _in_production(settings) == 2


def test_publish_concurrent_attempts_both_report_promotion(
    settings: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if the slower attempt takes the promotion by the faster one for that of another run."""
    promote, others = production.promote, list[task.PublishResult]()

    def promote_second(*arguments: Any, **keywords: Any) -> None:
        monkeypatch.setattr(production, "promote", promote)
        # Two attempts never promote at the same time.
        monkeypatch.setattr(production, "utc_now", lambda: "2026-01-01T00:00:00+00:00")
        others.append(_publish(settings, tmp_path / "other", "run-1"))
        monkeypatch.undo()
        promote(*arguments, **keywords)

    monkeypatch.setattr(production, "promote", promote_second)
    outcome = task.PublishResult(1, True, "the lower bound is above the floor")
    assert [_publish(settings, tmp_path, "run-1"), *others] == [outcome, outcome]
    assert _in_production(settings) == 1


def test_publish_deletes_checkpoints_of_own_run_only(settings: Publish, tmp_path: Path) -> None:
    """Fails if a stage deletes its own checkpoints: killed while uploading its outputs, it could not resume."""
    states = [f"{settings.publish_registry}/{registry.CHECKPOINTS}/{run}/fine-tune/state" for run in ("run-1", "run-2")]
    for uri in states:
        storage.write_bytes(uri, b"state")
    _publish(settings, tmp_path, "run-1")
    assert [storage.exists(uri) for uri in states] == [False, True]


def test_publish_without_gate_decision_raises(settings: Publish, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    metrics = {name: value for name, value in METRICS.items() if name != "gate"}
    (inputs.evaluation / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match=r"metrics\.json must have `gate` of type dict, got None$"):
        task.run(settings, inputs, "run-1", tmp_path / "version")
    assert registry.files_below(settings.publish_registry) == []


def test_publish_modified_report_raises(inputs: task.PublishInputs, settings: Publish, tmp_path: Path) -> None:
    inputs.report.write_text("<!doctype htmm>")
    with pytest.raises(ValueError, match=r"report\.html must match report\.SHA256SUMS, but is corrupt; "):
        task.run(settings, inputs, "run-1", tmp_path / "version")
    assert registry.files_below(settings.publish_registry) == []


@pytest.mark.parametrize("promote", [True, False])
def test_publish_result_logs_version_and_promotion(settings: Publish, tmp_path: Path, promote: bool) -> None:
    metrics = dsl.Metrics()
    _publish(settings, tmp_path, "run-1", promote=promote).log_to(metrics)
    assert metrics.metadata == {"version": 1, "gate_promoted": int(promote)}


def test_publish_retry_keeps_version_and_new_run_increments_it(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path
) -> None:
    numbers = [
        task.run(settings, inputs, run, tmp_path / "version").version for run in ("run-1", "run-1", "run-2", "run-1")
    ]
    assert numbers == [1, 1, 2, 1]
    assert registry.list_versions(str(tmp_path / "registry"), "chest") == [1, 2]


@pytest.mark.parametrize(
    "missing", ["model/saved_model/saved_model.pb", "model/model.keras", "evaluation/metrics.json", "report.html"]
)
def test_publish_missing_input_raises(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path, missing: str
) -> None:
    (tmp_path / missing).unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=Path(missing).name):
        task.run(settings, inputs, "run-1", tmp_path / "version")
    assert registry.list_versions(str(tmp_path / "registry"), "chest") == []
    assert not (tmp_path / "version").exists()


PUBLISH = """
import json, sys
from pathlib import Path
from radiograft.config import Publish
from radiograft.stages.publish import task
folder = Path(sys.argv[1])
inputs = task.PublishInputs(folder / "model", folder / "evaluation", folder / "report.html")
task.run(Publish(publish_registry=sys.argv[2]), inputs, "run-1", folder / "version")
print(json.dumps(sorted({"keras", "kfp", "tensorflow", "torch"} & set(sys.modules))))
"""


@pytest.mark.parametrize("location", ["folder", "bucket"])
def test_publish_does_not_import_tensorflow(
    inputs: task.PublishInputs, embedded: str, tmp_path: Path, location: str
) -> None:
    target = str(tmp_path / "registry") if location == "folder" else f"{embedded}/{tmp_path.name}"
    command = [sys.executable, "-c", PUBLISH, str(tmp_path), target]
    process = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert process.stdout == "[]\n"
    assert registry.list_versions(target, "chest-radiograph") == [1]
