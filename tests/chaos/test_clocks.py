"""Clocks may jump: the time of day is written down for people, and nothing is decided by it."""

from __future__ import annotations

import random
import re
import time

import pytest

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.storage import retry
from radiograft.training.checkpoints import Checkpoints
from tests.chaos.outcomes import flaws
from tests.helpers.publishers import publish
from tests.repository import ROOT

TIME_OF_DAY = re.compile(r"\b(datetime|date|time)\.(now|utcnow|today|time|time_ns)\(|\bst_mtime\b|\bgetmtime\b")
# Each writes the time into a page, a table, a record or a name beside random digits, and compares it with nothing.
PLACES = {
    "components/radiograft/stages/evaluate/report.py",
    "components/radiograft/registry/production.py",
    "pipelines/radiograft_pipelines/cluster/watch.py",
    "pipelines/radiograft_pipelines/cli/drift.py",
    "pipelines/radiograft_pipelines/local/runner.py",
}


def jump(drawn: random.Random) -> str:
    """A time within a century or so."""
    return f"{drawn.randrange(1990, 2090)}-{drawn.randrange(1, 13):02}-01T00:00:00+00:00"


def test_the_time_of_day_is_read_in_these_places_alone() -> None:
    files = [path for folder in ("components", "pipelines") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert {path.relative_to(ROOT).as_posix() for path in files if TIME_OF_DAY.search(path.read_text())} == PLACES


def test_versions_go_by_number_and_production_by_the_order_of_its_changes(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = random.Random(0)
    monkeypatch.setattr(production, "utc_now", lambda: jump(drawn))
    outcomes = [publish(place, "chest", f"run-{number}") for number in range(1, 6)]
    assert [outcome["version"] for outcome in outcomes] == registry.list_versions(place, "chest") == [1, 2, 3, 4, 5]
    for number in (3, 2):
        production.promote(place, "chest", number, production.read_production(place, "chest"), reason="a test")
    assert production.rollback(place, "chest", reason="a test") == (2, 3)
    assert production.rollback(place, "chest", reason="a test") == (3, 1)
    found = production.read_production(place, "chest")
    assert found is not None
    assert [change.time for change in found.history] != sorted(change.time for change in found.history)
    assert flaws(place, "chest") == []


def test_an_attempt_after_the_clock_went_back_completes_its_own_version(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(place, "chest", "run-1")
    monkeypatch.setattr(production, "utc_now", lambda: "1970-01-01T00:00:00+00:00")
    assert publish(place, "chest", "run-1")["version"] == 1
    assert publish(place, "chest", "run-2")["version"] == 2


def test_checkpoints_go_by_number(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: drawn.random() * 4e9)
    checkpoints = Checkpoints(storage.join(place, "kept"))
    for number in (1, 2, 10):
        checkpoints.save(number, {}, {"epoch": number}, keep=True)
    assert [state.number for state in checkpoints.all()] == [1, 2, 10]
    last = checkpoints.latest()
    assert last is not None
    assert last.facts == {"epoch": 10}


def test_patience_is_measured_on_a_clock_that_does_not_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, failures = random.Random(0), iter([ConnectionError()] * 5)
    monkeypatch.setattr(time, "time", lambda: drawn.random() * 4e9)
    monkeypatch.setattr(retry, "INITIAL_BACKOFF", 0.001)

    def request() -> str:
        for failure in failures:
            raise failure
        return "answered"

    assert retry.call_with_retry(request, lambda error: isinstance(error, ConnectionError)) == "answered"
