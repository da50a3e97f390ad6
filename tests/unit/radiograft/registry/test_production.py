"""The production pointer: it names a version that exists, moves from where it was seen, and finds its way back."""

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


def _promote(place: str, number: int) -> None:
    production.promote(
        place, MODEL, number, production.read_production(place, MODEL), reason=f"better than {number - 1}"
    )


def _current(place: str) -> int:
    found = production.read_production(place, MODEL)
    assert found is not None
    return found.version


def test_at_first_nothing_is_in_production(stocked: str) -> None:
    assert production.read_production(stocked, MODEL) is None


def test_the_pointer_names_the_version_and_remembers_how_it_came_there(stocked: str) -> None:
    production.promote(stocked, MODEL, 2, None, run_id="run-2", reason="nothing was there")
    production.promote(stocked, MODEL, 3, production.read_production(stocked, MODEL), reason="better")
    found = production.read_production(stocked, MODEL)
    assert found is not None
    assert found.version == 3
    assert [(each.version, each.run_id, each.reason) for each in found.history] == [
        (2, "run-2", "nothing was there"),
        (3, "", "better"),
    ]
    assert all(datetime.datetime.fromisoformat(each.time).tzinfo for each in found.history)
    pointer = json.loads(storage.read_bytes(storage.join(stocked, MODEL, "production.json")))
    assert pointer["version"] == 3  # what a serving system reads


def test_a_version_that_does_not_exist_is_refused(stocked: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"^chest has no version 5 in .*; there are 1, 2, 3, 4$"):
        _promote(stocked, 5)
    assert production.read_production(stocked, MODEL) is None


@pytest.mark.parametrize("first", [None, 1])
def test_production_that_moved_meanwhile_is_left_where_it_is(stocked: str, first: int | None) -> None:
    if first:
        _promote(stocked, first)
    seen = production.read_production(stocked, MODEL)
    _promote(stocked, 2)
    was = "version 1" if first else "no version"
    message = f"^production moved: {was} was expected to be in production, version 2 is by now$"
    with pytest.raises(production.ConflictError, match=message):
        production.promote(stocked, MODEL, 3, seen, reason="better")
    assert _current(stocked) == 2


def test_back_and_forth_is_a_move_too(stocked: str) -> None:
    """The same version is in production again, but not for the same reason."""
    _promote(stocked, 1)
    seen = production.read_production(stocked, MODEL)
    _promote(stocked, 2)
    production.rollback(stocked, MODEL, reason="wrong")
    assert _current(stocked) == 1
    with pytest.raises(production.ConflictError):
        production.promote(stocked, MODEL, 3, seen, reason="better")


def test_rollback_goes_back_step_by_step(stocked: str) -> None:
    for number in (1, 2, 3):
        _promote(stocked, number)
    assert production.rollback(stocked, MODEL, reason="wrong") == (3, 2)
    assert production.rollback(stocked, MODEL, reason="wrong too") == (2, 1)
    _promote(stocked, 4)
    assert production.rollback(stocked, MODEL, reason="again") == (4, 1)
    found = production.read_production(stocked, MODEL)
    assert found is not None
    assert [(each.version, each.rollback) for each in found.history] == [
        (1, False),
        (2, False),
        (3, False),
        (2, True),
        (1, True),
        (4, False),
        (1, True),
    ]


@pytest.mark.parametrize("promoted", [[], [1], [1, 2]])
def test_without_anything_before_there_is_no_way_back(stocked: str, promoted: list[int]) -> None:
    for number in promoted:
        _promote(stocked, number)
    if len(promoted) == 2:
        production.rollback(stocked, MODEL, reason="wrong")
    with pytest.raises(ValueError, match=r"^chest has no earlier production version to go back to$"):
        production.rollback(stocked, MODEL, reason="wrong")


def test_what_is_gone_is_not_gone_back_to(stocked: str) -> None:
    _promote(stocked, 1)
    _promote(stocked, 2)
    storage.delete(storage.join(stocked, MODEL, "1", "saved_model.pb"))
    with pytest.raises(FileNotFoundError, match="chest has no version 1 in "):
        production.rollback(stocked, MODEL, reason="wrong")
    assert _current(stocked) == 2


def test_of_racing_promotions_exactly_one_moves_production(stocked: str) -> None:
    _promote(stocked, 1)
    seen, start = production.read_production(stocked, MODEL), threading.Barrier(3)

    def promote(number: int) -> bool:
        start.wait()
        try:
            production.promote(stocked, MODEL, number, seen, reason="better")
        except production.ConflictError:
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        won = list(pool.map(promote, (2, 3, 4)))
    assert won.count(True) == 1
    assert _current(stocked) == (2, 3, 4)[won.index(True)]
