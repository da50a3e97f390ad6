"""Random changes of the production pointer of model `chest`: promotions, rollbacks and new versions."""

from __future__ import annotations

import collections
import contextlib
import random

from radiograft.registry import production
from radiograft.registry import versions as registry
from tests.helpers.publishers import publish

MODEL = "chest"
FIRST_VERSIONS = 3
PUBLISH_EVERY = 20  # moves


def stock(place: str) -> None:
    """Publishes the first versions and promotes the first of them."""
    for number in range(FIRST_VERSIONS):
        publish(place, MODEL, f"run-{number}")


def make(place: str, count: int, seed: int) -> dict[str, int]:
    """Changes production `count` times; returns the number of changes by kind."""
    rng, moves = random.Random(seed), collections.Counter[str]()
    for number in range(count):
        if number % PUBLISH_EVERY == PUBLISH_EVERY - 1:
            succeed(place, f"run-{seed}-{number}")
            moves["new version"] += 1
        elif rng.random() < 0.5 and _roll_back(place):
            moves["rollback"] += 1
        else:
            _promote(place, rng.choice(registry.list_versions(place, MODEL)))
            moves["promotion"] += 1
    return dict(moves)


def succeed(place: str, run_id: str) -> None:
    """Publishes a version and promotes it."""
    _promote(place, publish(place, MODEL, run_id)["version"])


def _promote(place: str, number: int) -> None:
    production.promote(place, MODEL, number, production.read_production(place, MODEL), reason="soak")


def _roll_back(place: str) -> bool:
    with contextlib.suppress(ValueError):  # there is no earlier production version
        production.rollback(place, MODEL, reason="soak")
        return True
    return False
