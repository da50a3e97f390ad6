"""Publishers in real processes: 32 at once lose and mix nothing, and one that is killed leaves nothing behind."""

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
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _served(place: str, model: str) -> list[int]:
    """The numbers that TensorFlow Serving would load."""
    names = [entry.name.split("/") for entry in registry.files_below(storage.join(place, model))]
    return sorted(int(name[0]) for name in names if name[0].isdigit() and name[1:] == ["saved_model.pb"])


@pytest.fixture(scope="module", params=["local", "gs", "s3"])
def race(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[dict[str, Any]]]:
    """A registry into which 32 runs published at once, and what became of each."""
    place = _place(request, tmp_path_factory)
    return place, [json.loads(line) for line in _run("at-once", place, str(WRITERS))]


def _place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("registry")
    buckets = {"gs": "embedded", "s3": "s3"}
    if request.param == "local":
        return str(folder)
    return f"{request.getfixturevalue(buckets[request.param])}/{uuid.uuid4()}"


def test_publishers_at_once_lose_and_mix_nothing(race: tuple[str, list[dict[str, Any]]]) -> None:
    """Fails where `claims.claim` writes its file whether or not there is one: two runs then share a number."""
    place, outcomes = race
    assert sorted(each["version"] for each in outcomes) == list(range(1, WRITERS + 1))
    assert registry.list_versions(place, MODEL) == list(range(1, WRITERS + 1))
    for each in outcomes:
        registry.verify_version(place, MODEL, each["version"])
        extra = storage.join(place, MODEL, str(each["version"]), "assets.extra")
        assert json.loads(storage.read_bytes(f"{extra}/lineage.json"))["run_id"] == each["run_id"]
        assert storage.read_bytes(f"{extra}/model.keras") == each["run_id"].encode()


def test_of_publishers_at_once_one_gets_into_production(race: tuple[str, list[dict[str, Any]]]) -> None:
    """Fails where publish promotes without comparing what is in production with what the gate saw there."""
    place, outcomes = race
    (promoted,) = (each for each in outcomes if each["promoted"])
    found = production.read_production(place, MODEL)
    assert found is not None
    assert [(change.version, change.run_id) for change in found.history] == [(promoted["version"], promoted["run_id"])]
    assert found.version in registry.list_versions(place, MODEL)
    reason = f"production moved: no version was expected to be in production, version {found.version} is by now; "
    assert {each["reason"] for each in outcomes if not each["promoted"]} == {reason + "run the pipeline again"}


@pytest.fixture(scope="module", params=["local", "gs"])
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[str]]:
    """A registry and its models, each left by a publisher that was killed before a later write than the one before."""
    place = _place(request, tmp_path_factory)
    *_, count = _run("killed", place)
    return place, [f"killed-{number}" for number in range(int(count))]


def test_a_killed_publisher_leaves_no_version_or_a_whole_one(killed: tuple[str, list[str]]) -> None:
    place, models = killed
    assert len(models) > 10
    for model in models:
        found = registry.list_versions(place, model)
        assert found in ([], [1])
        assert _served(place, model) == found
        for number in found:
            registry.verify_version(place, model, number)
    wholes = [registry.list_versions(place, model) for model in models]
    assert wholes == [[]] * (len(models) - 1) + [[1]]  # between the version and the pointer


def test_a_killed_publisher_leaves_nothing_in_production(killed: tuple[str, list[str]]) -> None:
    place, models = killed
    assert [production.read_production(place, model) for model in models] == [None] * len(models)


def test_the_next_publisher_steps_over_it_and_the_next_attempt_completes_it(killed: tuple[str, list[str]]) -> None:
    place, models = killed
    for model in models:
        claimed = bool(registry.files_below(storage.join(place, model, "claims")))
        other = publish(place, model, "run-2")
        assert (other["version"], other["promoted"]) == (2 if claimed else 1, True)
        again = publish(place, model, "run-1")
        assert (again["version"], again["promoted"]) == (1 if claimed else 2, False)
        assert registry.list_versions(place, model) == _served(place, model) == [1, 2]
        for number in (1, 2):
            registry.verify_version(place, model, number)
    assert list(Path(place).glob("*/.[0-9]*")) == []  # no hidden folder of a version is left
