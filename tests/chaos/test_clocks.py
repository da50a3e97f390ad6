"""System clocks may jump: the time of day is only recorded, never used for a decision."""

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
from tests.chaos.outcomes import registry_errors
from tests.helpers.publishers import publish
from tests.repository import ROOT

TIME_OF_DAY = re.compile(r"\b(datetime|date|time)\.(now|utcnow|today|time|time_ns)\(|\bst_mtime\b|\bgetmtime\b")
# Each writes the time into a page, a table, a record or a name, and never compares it.
ALLOWED_FILES = {
    "components/radiograft/stages/evaluate/report.py",
    "components/radiograft/registry/production.py",
    "pipelines/radiograft_pipelines/cluster/watch.py",
    "pipelines/radiograft_pipelines/cli/drift.py",
    "pipelines/radiograft_pipelines/local/progress.py",
}


def random_time(rng: random.Random) -> str:
    """Returns a random time within a century."""
    return f"{rng.randrange(1990, 2090)}-{rng.randrange(1, 13):02}-01T00:00:00+00:00"


def test_time_of_day_is_read_only_in_allowed_files() -> None:
    files = [path for folder in ("components", "pipelines") for path in sorted((ROOT / folder).rglob("*.py"))]
    assert {
        path.relative_to(ROOT).as_posix() for path in files if TIME_OF_DAY.search(path.read_text())
    } == ALLOWED_FILES


def test_registry_with_jumping_clock_orders_by_number_and_history(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    monkeypatch.setattr(production, "utc_now", lambda: random_time(rng))
    outcomes = [publish(place, "chest", f"run-{number}") for number in range(1, 6)]
    assert [outcome["version"] for outcome in outcomes] == registry.list_versions(place, "chest") == [1, 2, 3, 4, 5]
    for number in (3, 2):
        production.promote(place, "chest", number, production.read_production(place, "chest"), reason="a test")
    assert production.rollback(place, "chest", reason="a test") == (2, 3)
    assert production.rollback(place, "chest", reason="a test") == (3, 1)
    current = production.read_production(place, "chest")
    assert current is not None
    assert [change.time for change in current.history] != sorted(change.time for change in current.history)
    assert registry_errors(place, "chest") == []


def test_publish_retry_after_clock_went_back_completes_its_version(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(place, "chest", "run-1")
    monkeypatch.setattr(production, "utc_now", lambda: "1970-01-01T00:00:00+00:00")
    assert publish(place, "chest", "run-1")["version"] == 1
    assert publish(place, "chest", "run-2")["version"] == 2


def test_checkpoints_with_jumping_clock_are_ordered_by_number(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: rng.random() * 4e9)
    checkpoints = Checkpoints(storage.join(place, "kept"))
    for number in (1, 2, 10):
        checkpoints.save(number, {}, {"epoch": number}, keep=True)
    assert [state.number for state in checkpoints.all()] == [1, 2, 10]
    last = checkpoints.latest()
    assert last is not None
    assert last.facts == {"epoch": 10}


def test_call_with_retry_uses_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    rng, failures = random.Random(0), iter([ConnectionError()] * 5)
    monkeypatch.setattr(time, "time", lambda: rng.random() * 4e9)
    monkeypatch.setattr(retry, "INITIAL_BACKOFF", 0.001)

    def request() -> str:
        for failure in failures:
            raise failure
        return "answered"

    assert retry.call_with_retry(request, lambda error: isinstance(error, ConnectionError)) == "answered"
