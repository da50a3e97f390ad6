"""The production pointer of a model, `<registry>/<model>/production.json`, with its history.

Serving systems should follow this pointer, not the highest version number: candidates that the promotion gate rejected
are versions too.
"""

from __future__ import annotations

import datetime
import json
from typing import NamedTuple

from radiograft import storage
from radiograft.registry import generators, versions
from radiograft.utils import json_io

POINTER = "production.json"


class ConflictError(RuntimeError):
    """The production version changed while another version was being promoted."""


class Change(NamedTuple):
    """One change of the production pointer; `rollback` if it restored an earlier version."""

    version: int
    time: str
    run_id: str
    reason: str
    rollback: bool = False


class Production(NamedTuple):
    """The version in production, the token that a change requires, and all changes in chronological order."""

    version: int
    token: str
    history: tuple[Change, ...]


def read_production(registry: str, model: str) -> Production | None:
    """Reads the production pointer; returns None if no version was ever promoted.

    Raises:
        ValueError: production.json is malformed.
    """
    uri = storage.join(registry, model, POINTER)
    try:
        content, token = storage.read_versioned(uri)
    except FileNotFoundError:
        return None
    try:
        history = tuple(Change(**change) for change in json_io.parse_json_object(content, uri)["history"])
        return Production(int(history[-1].version), token, history)
    except (TypeError, ValueError, LookupError) as error:
        raise ValueError(f"{uri} must contain the `history` of the production pointer, got: {error}") from error


def version_excluding_run(registry: str, model: str, run_id: str) -> int | None:
    """Returns the production version, ignoring promotions by earlier attempts of this run; None if there is no other.

    Raises:
        ValueError: production.json is malformed.
    """
    current = read_production(registry, model)
    others = [change.version for change in (current.history if current else ()) if change.run_id != run_id]
    return others[-1] if others else None


def promote(
    registry: str, model: str, number: int, expected: Production | None, *, run_id: str = "", reason: str
) -> None:
    """Promotes a version to production if the production pointer has not changed since it was read.

    Args:
        expected: the result of `read_production` on which the decision is based.
        run_id: of the run that promotes; empty for a manual promotion.

    Raises:
        FileNotFoundError: the version does not exist.
        ValueError: the version is a generator of super-resolution.
        ConflictError: the production pointer has changed.
    """
    generators.check_classifier(registry, model, number)
    _write_pointer(registry, model, Change(number, utc_now(), run_id, reason), expected)


def rollback(registry: str, model: str, *, reason: str) -> tuple[int, int]:
    """Restores the previous production version. Repeated calls go further back.

    Returns:
        The version that was in production, and the one that is now.

    Raises:
        ValueError: there is no previous production version.
        FileNotFoundError: the previous version no longer exists.
        ConflictError: the production pointer changed in the meantime.
    """
    current = read_production(registry, model)
    stack: list[int] = []
    for change in current.history if current else ():
        if change.rollback:
            stack = stack[:-1]  # unlike pop(), accepts a history that starts with a rollback
        else:
            stack.append(change.version)
    if current is None or len(stack) < 2:
        raise ValueError(f"{model} has no earlier production version to go back to")
    versions.read_manifest(registry, model, stack[-2])
    _write_pointer(registry, model, Change(stack[-2], utc_now(), "", reason, rollback=True), current)
    return current.version, stack[-2]


def conflict_error(current: Production | None, expected: int | None) -> ConflictError:
    """Returns the error for a production version other than the expected one."""
    received = current.version if current else None
    names = [f"version {number}" if number else "no version" for number in (expected, received)]
    return ConflictError(f"production changed: expected {names[0]} in production, got {names[1]}")


def _write_pointer(registry: str, model: str, change: Change, expected: Production | None) -> None:
    history = [*(expected.history if expected else ()), change]
    content = {"version": change.version, "history": [change._asdict() for change in history]}
    uri = storage.join(registry, model, POINTER)
    token = expected.token if expected else None
    try:
        storage.swap_content(uri, json.dumps(content, indent=2).encode(), token)
    except FileExistsError:
        raise conflict_error(read_production(registry, model), expected.version if expected else None) from None


def utc_now() -> str:
    """Returns the current time in UTC in ISO 8601 format, in whole seconds."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
