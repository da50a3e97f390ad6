"""Publishers in real processes: 32 concurrent ones do not interfere, and a killed one leaves no incomplete version."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from tests.helpers.publishers import publish
from tests.repository import ROOT

MODEL = "chest"
WRITERS = 32


def _run(*arguments: str) -> list[str]:
    command = [sys.executable, "-m", "tests.helpers.publishers", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def _servable_versions(place: str, model: str) -> list[int]:
    """Returns the numbers that TensorFlow Serving would load."""
    names = [entry.name.split("/") for entry in registry.files_below(storage.join(place, model))]
    return sorted(int(name[0]) for name in names if name[0].isdigit() and name[1:] == ["saved_model.pb"])


@pytest.fixture(scope="module", params=["local", "gs", "s3"])
def race(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """A registry into which 32 runs published concurrently, and the outcome of each."""
    place = _place(request, tmp_path_factory)
    return place, [json.loads(line) for line in _run("at-once", place, str(WRITERS))]


def _place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("registry")
    buckets = {"gs": "embedded", "s3": "s3"}
    if request.param == "local":
        return str(folder)
    return f"{request.getfixturevalue(buckets[request.param])}/{uuid.uuid4()}"


def test_publish_concurrent_runs_get_separate_versions(race: tuple[str, list[dict[str, Any]]]) -> None:
    """Fails if `claim_version` overwrites existing claims: two runs would share a number."""
    place, outcomes = race
    assert sorted(outcome["version"] for outcome in outcomes) == list(range(1, WRITERS + 1))
    assert registry.list_versions(place, MODEL) == list(range(1, WRITERS + 1))
    for outcome in outcomes:
        registry.verify_version(place, MODEL, outcome["version"])
        extra = storage.join(place, MODEL, str(outcome["version"]), "assets.extra")
        assert json.loads(storage.read_bytes(f"{extra}/lineage.json"))["run_id"] == outcome["run_id"]
        assert storage.read_bytes(f"{extra}/model.keras") == outcome["run_id"].encode()


def test_publish_concurrent_runs_promote_exactly_one(race: tuple[str, list[dict[str, Any]]]) -> None:
    """Fails if publish promotes without comparing the production version with the one that the gate compared."""
    place, outcomes = race
    (promoted,) = (outcome for outcome in outcomes if outcome["promoted"])
    current = production.read_production(place, MODEL)
    assert current is not None
    assert [(change.version, change.run_id) for change in current.history] == [
        (promoted["version"], promoted["run_id"])
    ]
    assert current.version in registry.list_versions(place, MODEL)
    reason = f"production changed: expected no version in production, got version {current.version}; "
    assert {outcome["reason"] for outcome in outcomes if not outcome["promoted"]} == {reason + "run the pipeline again"}


@pytest.fixture(scope="module", params=["local", "gs"])
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A registry and its models, each written by a publisher that was killed one write later than the previous one."""
    place = _place(request, tmp_path_factory)
    *_, count = _run("killed", place)
    return place, [f"killed-{number}" for number in range(int(count))]


def test_publish_killed_leaves_no_incomplete_version(killed: tuple[str, list[str]]) -> None:
    place, models = killed
    assert len(models) > 10
    for model in models:
        versions = registry.list_versions(place, model)
        assert versions in ([], [1])
        assert _servable_versions(place, model) == versions
        for number in versions:
            registry.verify_version(place, model, number)
    versions_of_models = [registry.list_versions(place, model) for model in models]
    assert versions_of_models == [[]] * (len(models) - 1) + [[1]]  # the last: killed before the pointer was written


def test_publish_killed_promotes_nothing(killed: tuple[str, list[str]]) -> None:
    place, models = killed
    assert [production.read_production(place, model) for model in models] == [None] * len(models)


def test_publish_killed_version_is_skipped_by_others_and_completed_by_retry(killed: tuple[str, list[str]]) -> None:
    place, models = killed
    for model in models:
        claimed = bool(registry.files_below(storage.join(place, model, "claims")))
        other = publish(place, model, "run-2")
        assert (other["version"], other["promoted"]) == (2 if claimed else 1, True)
        again = publish(place, model, "run-1")
        assert (again["version"], again["promoted"]) == (1 if claimed else 2, False)
        assert registry.list_versions(place, model) == _servable_versions(place, model) == [1, 2]
        for number in (1, 2):
            registry.verify_version(place, model, number)
    assert list(Path(place).glob("*/.[0-9]*")) == []  # no draft folder is left
