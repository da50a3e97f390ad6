"""The production pointer: promotion, conflicts and rollback."""

from __future__ import annotations

import datetime
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry

MODEL = "chest"


@pytest.fixture
def stocked(place: str, tmp_path: Path) -> str:
    """A registry with versions 1 to 4, none of them in production."""
    (tmp_path / "graph").write_bytes(b"graph")
    for number in (1, 2, 3, 4):
        registry.write_version(place, MODEL, number, {"saved_model.pb": tmp_path / "graph"}, {})
    return place


def promote(place: str, number: int) -> None:
    production.promote(
        place, MODEL, number, production.read_production(place, MODEL), reason=f"better than {number - 1}"
    )


def production_version(place: str) -> int:
    current = production.read_production(place, MODEL)
    assert current is not None
    return current.version


def test_read_production_new_registry_returns_none(stocked: str) -> None:
    assert production.read_production(stocked, MODEL) is None


def test_promote_records_version_and_history(stocked: str) -> None:
    production.promote(stocked, MODEL, 2, None, run_id="run-2", reason="nothing was there")
    production.promote(stocked, MODEL, 3, production.read_production(stocked, MODEL), reason="better")
    current = production.read_production(stocked, MODEL)
    assert current is not None
    assert current.version == 3
    assert [(change.version, change.run_id, change.reason) for change in current.history] == [
        (2, "run-2", "nothing was there"),
        (3, "", "better"),
    ]
    assert all(datetime.datetime.fromisoformat(change.time).tzinfo for change in current.history)
    pointer = json.loads(storage.read_bytes(storage.join(stocked, MODEL, "production.json")))
    assert pointer["version"] == 3  # read by serving systems


def test_promote_missing_version_raises(stocked: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"^chest has no version 5 in .*; existing versions: 1, 2, 3, 4$"):
        promote(stocked, 5)
    assert production.read_production(stocked, MODEL) is None


@pytest.mark.parametrize("first", [None, 1])
def test_promote_after_other_promotion_raises(stocked: str, first: int | None) -> None:
    if first:
        promote(stocked, first)
    seen = production.read_production(stocked, MODEL)
    promote(stocked, 2)
    expected = "version 1" if first else "no version"
    message = f"^production changed: expected {expected} in production, got version 2$"
    with pytest.raises(production.ConflictError, match=message):
        production.promote(stocked, MODEL, 3, seen, reason="better")
    assert production_version(stocked) == 2


def test_promote_after_promotion_and_rollback_raises(stocked: str) -> None:
    """The same version is in production again, but its history differs."""
    promote(stocked, 1)
    seen = production.read_production(stocked, MODEL)
    promote(stocked, 2)
    production.rollback(stocked, MODEL, reason="wrong")
    assert production_version(stocked) == 1
    with pytest.raises(production.ConflictError):
        production.promote(stocked, MODEL, 3, seen, reason="better")


def test_rollback_repeated_goes_further_back(stocked: str) -> None:
    for number in (1, 2, 3):
        promote(stocked, number)
    assert production.rollback(stocked, MODEL, reason="wrong") == (3, 2)
    assert production.rollback(stocked, MODEL, reason="wrong too") == (2, 1)
    promote(stocked, 4)
    assert production.rollback(stocked, MODEL, reason="again") == (4, 1)
    current = production.read_production(stocked, MODEL)
    assert current is not None
    assert [(change.version, change.rollback) for change in current.history] == [
        (1, False),
        (2, False),
        (3, False),
        (2, True),
        (1, True),
        (4, False),
        (1, True),
    ]


@pytest.mark.parametrize("promoted", [[], [1], [1, 2]])
def test_rollback_without_earlier_version_raises(stocked: str, promoted: list[int]) -> None:
    for number in promoted:
        promote(stocked, number)
    if len(promoted) == 2:
        production.rollback(stocked, MODEL, reason="wrong")
    with pytest.raises(ValueError, match=r"^chest has no earlier production version to go back to$"):
        production.rollback(stocked, MODEL, reason="wrong")


def test_rollback_to_missing_version_raises(stocked: str) -> None:
    promote(stocked, 1)
    promote(stocked, 2)
    storage.delete(storage.join(stocked, MODEL, "1", "saved_model.pb"))
    with pytest.raises(FileNotFoundError, match="chest has no version 1 in "):
        production.rollback(stocked, MODEL, reason="wrong")
    assert production_version(stocked) == 2


def test_promote_concurrent_promotions_exactly_one_succeeds(stocked: str) -> None:
    promote(stocked, 1)
    seen, start = production.read_production(stocked, MODEL), threading.Barrier(3)

    def try_to_promote(number: int) -> bool:
        start.wait()
        try:
            production.promote(stocked, MODEL, number, seen, reason="better")
        except production.ConflictError:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        won = list(pool.map(try_to_promote, (2, 3, 4)))
    assert won.count(True) == 1
    assert production_version(stocked) == (2, 3, 4)[won.index(True)]
