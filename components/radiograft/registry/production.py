"""Which version is in production: one file a model, `<registry>/<model>/production.json`, which remembers its past.

Everything that serves should follow this pointer, not the highest number: candidates that the gate refused are versions
too.
"""

from __future__ import annotations

import datetime
import json
from typing import NamedTuple

from radiograft import storage
from radiograft.registry import versions as registry
from radiograft.storage import conditional_write
from radiograft.utils import json_io

POINTER = "production.json"


class ConflictError(RuntimeError):
    """Production moved while a version was on its way to become it."""


class Change(NamedTuple):
    """One move of the production pointer; `rollback` where it went back to what was before."""

    version: int
    time: str
    run_id: str
    reason: str
    rollback: bool = False


class Production(NamedTuple):
    """The version in production, the token to change it by, and all changes, the last one last."""

    version: int
    token: str
    history: tuple[Change, ...]


def read_production(place: str, model: str) -> Production | None:
    """The version in production; None where none ever was.

    Raises:
        ValueError: the pointer is none.
    """
    uri = storage.join(place, model, POINTER)
    try:
        content, token = conditional_write.read_versioned(uri)
    except FileNotFoundError:
        return None
    try:
        history = tuple(Change(**change) for change in json_io.parse_json_object(content, uri)["history"])
        return Production(int(history[-1].version), token, history)
    except (TypeError, ValueError, LookupError) as error:
        raise ValueError(
            f"{uri} must hold the `history` of the production pointer, got other content: {error}"
        ) from error


def version_excluding_run(place: str, model: str, run_id: str) -> int | None:
    """The version in production but for what this run itself promoted in an attempt before; None where there is none.

    Raises:
        ValueError: the pointer is none.
    """
    found = read_production(place, model)
    others = [change.version for change in (found.history if found else ()) if change.run_id != run_id]
    return others[-1] if others else None


def promote(place: str, model: str, number: int, expected: Production | None, *, run_id: str = "", reason: str) -> None:
    """Makes a version the one in production, if production is still what it was when it was looked at.

    Args:
        expected: what `current` gave then.
        run_id: of the run that promotes; empty for a person.

    Raises:
        FileNotFoundError: there is no such version.
        ConflictError: production moved meanwhile.
    """
    registry.read_manifest(place, model, number)
    _point(place, model, Change(number, utc_now(), run_id, reason), expected)


def rollback(place: str, model: str, *, reason: str) -> tuple[int, int]:
    """Goes back to what was in production before; again and again as far as the history goes.

    Returns:
        The version that was in production, and the one that is now.

    Raises:
        ValueError: nothing was in production before.
        FileNotFoundError: what was is gone.
        ConflictError: production moved meanwhile.
    """
    found = read_production(place, model)
    stack: list[int] = []
    for change in found.history if found else ():
        if change.rollback:
            stack = stack[:-1]  # whoever wrote the history
        else:
            stack.append(change.version)
    if found is None or len(stack) < 2:
        raise ValueError(f"{model} has no earlier production version to go back to")
    registry.read_manifest(place, model, stack[-2])
    _point(place, model, Change(stack[-2], utc_now(), "", reason, rollback=True), found)
    return found.version, stack[-2]


def conflict_error(found: Production | None, expected: int | None) -> ConflictError:
    """The error that says what was expected in production and what is there by now."""
    names = [f"version {number}" if number else "no version" for number in (expected, found and found.version)]
    return ConflictError(f"production moved: {names[0]} was expected to be in production, {names[1]} is by now")


def _point(place: str, model: str, change: Change, expected: Production | None) -> None:
    history = [*(expected.history if expected else ()), change]
    content = {"version": change.version, "history": [each._asdict() for each in history]}
    uri = storage.join(place, model, POINTER)
    try:
        conditional_write.swap_content(
            uri, json.dumps(content, indent=2).encode(), expected.token if expected else None
        )
    except FileExistsError:
        raise conflict_error(read_production(place, model), expected.version if expected else None) from None


def utc_now() -> str:
    """ISO 8601 time in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
