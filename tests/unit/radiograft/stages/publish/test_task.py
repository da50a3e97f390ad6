"""The publish stage: which files make a version, what its lineage says, and that it starts without TensorFlow."""

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


def _json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_a_version_holds_what_serves_explains_and_proves_it(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path
) -> None:
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
    assert _json(extra / "metrics.json") == METRICS
    assert registry.verify_version(str(tmp_path / "registry"), "chest", 1)["model"] == "chest"


def test_the_contract_gets_the_published_strategys_thresholds(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path
) -> None:
    task.run(settings, inputs, "run-1", tmp_path / "version")
    spec = ModelSpec.read(tmp_path / "registry" / "chest" / "1" / "assets.extra")
    assert spec == dataclasses.replace(SPEC, thresholds={"Pneumonia": 0.75})


def test_lineage_names_run_data_settings_code_and_parent(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADIOGRAFT_COMMIT", "c0ffee")
    monkeypatch.setenv("RADIOGRAFT_RUNNING_IMAGE", "registry.example/trainer@sha256:00")
    for run in ("run-1", "run-2"):
        task.run(settings, inputs, run, tmp_path / "version")
    first, second = (
        _json(tmp_path / "registry" / "chest" / number / "assets.extra" / "lineage.json") for number in ("1", "2")
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


def test_without_the_builds_word_the_commit_is_that_of_the_sources(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RADIOGRAFT_COMMIT", raising=False)
    if not (ROOT / ".git").exists():
        pytest.skip("the sources have no history here")
    task.run(settings, inputs, "run-1", tmp_path / "version")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    commit = _json(tmp_path / "version")["lineage"]["code"]["commit"]
    assert commit.removesuffix("-dirty") == head.strip()


def test_the_output_says_where_the_version_lies_and_how_it_stands(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path
) -> None:
    task.run(settings, inputs, "run-1", tmp_path / "version")
    found = _json(tmp_path / "version")
    assert found.pop("lineage") == _json(tmp_path / "registry" / "chest" / "1" / "assets.extra" / "lineage.json")
    assert found == {
        "model": "chest",
        "version": 1,
        "uri": f"{tmp_path}/registry/chest/1",
        "promoted": True,
        "standing": "production",
        "reason": "the lower bound is above the floor",
    }


def _publish(settings: Publish, folder: Path, run_id: str, **gate: Any) -> task.PublishResult:
    return task.run(settings, write_inputs(folder, **gate), run_id, folder / "version")


def _in_production(settings: Publish) -> int | None:
    found = production.read_production(settings.publish_registry, settings.publish_model_name)
    return found.version if found else None


def test_what_passed_the_gate_becomes_production(settings: Publish, tmp_path: Path) -> None:
    first = _publish(settings, tmp_path, "run-1")
    second = _publish(settings, tmp_path, "run-2", champion=1, reasons=["better", "and above the floor"])
    assert (first.promoted, second) == (True, task.PublishResult(2, True, "better; and above the floor"))
    found = production.read_production(settings.publish_registry, "chest")
    assert found is not None
    assert [(each.version, each.run_id) for each in found.history] == [(1, "run-1"), (2, "run-2")]
    assert found.history[1].reason == "better; and above the floor"


def test_what_did_not_pass_is_a_candidate_with_the_reason(settings: Publish, tmp_path: Path) -> None:
    _publish(settings, tmp_path, "run-1")
    outcome = _publish(settings, tmp_path, "run-2", champion=1, promote=False, reasons=["worse"])
    assert outcome == task.PublishResult(2, False, "worse")
    assert outcome.standing == "candidate"
    assert _in_production(settings) == 1
    assert registry.list_versions(settings.publish_registry, "chest") == [1, 2]


@pytest.mark.parametrize("champion", [None, 1])
def test_the_verdict_holds_only_against_the_champion_it_saw(
    settings: Publish, tmp_path: Path, champion: int | None
) -> None:
    for number in (1, 2):
        _publish(settings, tmp_path, f"run-{number}", champion=number - 1 or None)
    outcome = _publish(settings, tmp_path, "run-3", champion=champion)
    seen = f"version {champion}" if champion else "no version"
    assert outcome == task.PublishResult(
        3,
        False,
        f"production changed: expected {seen} in production, got version 2; run the pipeline again",
    )
    assert _in_production(settings) == 2


def test_an_attempt_after_the_promotion_tells_what_was_done(settings: Publish, tmp_path: Path) -> None:
    first = _publish(settings, tmp_path, "run-1")
    _publish(settings, tmp_path, "run-2", champion=1)
    assert _publish(settings, tmp_path, "run-1") == first
    assert _in_production(settings) == 2


def test_of_two_live_attempts_both_tell_that_the_run_is_in_production(
    settings: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails where the slower one takes the promotion by the quicker one for another run's."""
    promote, others = production.promote, list[task.PublishResult]()

    def just_too_late(*arguments: Any, **named: Any) -> None:
        monkeypatch.setattr(production, "promote", promote)
        monkeypatch.setattr(
            production, "utc_now", lambda: "2026-01-01T00:00:00+00:00"
        )  # no two attempts promote at once
        others.append(_publish(settings, tmp_path / "other", "run-1"))
        monkeypatch.undo()
        promote(*arguments, **named)

    monkeypatch.setattr(production, "promote", just_too_late)
    outcome = task.PublishResult(1, True, "the lower bound is above the floor")
    assert [_publish(settings, tmp_path, "run-1"), *others] == [outcome, outcome]
    assert _in_production(settings) == 1


def test_the_runs_checkpoints_go_when_it_has_published_and_no_other_runs(settings: Publish, tmp_path: Path) -> None:
    """Fails where a stage takes its own away: killed while its outputs are uploaded, it would begin anew."""
    kept = [f"{settings.publish_registry}/{registry.CHECKPOINTS}/{run}/fine-tune/state" for run in ("run-1", "run-2")]
    for uri in kept:
        storage.write_bytes(uri, b"state")
    _publish(settings, tmp_path, "run-1")
    assert [storage.exists(uri) for uri in kept] == [False, True]


def test_without_a_verdict_nothing_is_published(settings: Publish, tmp_path: Path) -> None:
    inputs = write_inputs(tmp_path)
    metrics = {name: value for name, value in METRICS.items() if name != "gate"}
    (inputs.evaluation / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match=r"metrics\.json must have `gate` of type dict, got None$"):
        task.run(settings, inputs, "run-1", tmp_path / "version")
    assert registry.files_below(settings.publish_registry) == []


def test_a_report_that_was_changed_is_not_published(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path
) -> None:
    inputs.report.write_text("<!doctype htmm>")
    with pytest.raises(ValueError, match=r"report\.html must match report\.SHA256SUMS, but is corrupt; "):
        task.run(settings, inputs, "run-1", tmp_path / "version")
    assert registry.files_below(settings.publish_registry) == []


@pytest.mark.parametrize("promote", [True, False])
def test_kfp_gets_version_and_promotion_as_metrics(settings: Publish, tmp_path: Path, promote: bool) -> None:
    metrics = dsl.Metrics()
    _publish(settings, tmp_path, "run-1", promote=promote).log_to(metrics)
    assert metrics.metadata == {"version": 1, "promoted": int(promote)}


def test_a_second_attempt_is_the_same_version_and_a_second_run_the_next(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path
) -> None:
    numbers = [
        task.run(settings, inputs, run, tmp_path / "version").version for run in ("run-1", "run-1", "run-2", "run-1")
    ]
    assert numbers == [1, 1, 2, 1]
    assert registry.list_versions(str(tmp_path / "registry"), "chest") == [1, 2]


@pytest.mark.parametrize(
    "lost", ["model/saved_model/saved_model.pb", "model/model.keras", "evaluation/metrics.json", "report.html"]
)
def test_without_its_inputs_nothing_is_published(
    inputs: task.PublishInputs, settings: Publish, tmp_path: Path, lost: str
) -> None:
    (tmp_path / lost).unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=Path(lost).name):
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


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_publishing_loads_no_tensorflow(inputs: task.PublishInputs, embedded: str, tmp_path: Path, place: str) -> None:
    target = str(tmp_path / "registry") if place == "folder" else f"{embedded}/{tmp_path.name}"
    command = [sys.executable, "-c", PUBLISH, str(tmp_path), target]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "[]\n"
    assert registry.list_versions(target, "chest-radiograph") == [1]
