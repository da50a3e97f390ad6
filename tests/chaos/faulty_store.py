"""Publishes versions and keeps checkpoints over a line that refuses, drops, holds up or loses requests."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.storage import retry
from radiograft.training.checkpoints import Checkpoints
from radiograft_pipelines.local.object_store import embedded_store
from tests.chaos.outcomes import flaws
from tests.chaos.row import Row
from tests.helpers.faulty_proxy import Line, line_to
from tests.helpers.publishers import publish

SHARE = 0.3  # of all requests
VERSIONS, STATES = 20, 50
MODEL = "chest"
# Pauses and silences for a test's patience; how long is waited in all stays as it is.
IMPATIENT = {"FIRST_PAUSE": 0.01, "LONGEST_PAUSE": 0.1, "CONNECT_SECONDS": 0.5, "SILENCE_SECONDS": 0.5}


def measure(work: Path, *, seed: int, **_: float) -> list[Row]:
    """Both, each over a line of its own."""
    place = f"gs://{storage.EMBEDDED_BUCKET}/flawed"
    rows = []
    with embedded_store(work / "flawed") as store:
        for name, work_over in (("publish", publish_over), ("checkpoints", keep_over)):
            with flawed(store, storage.EMBEDDED_ENDPOINT_VARIABLE, seed) as line:
                losses = work_over(line, f"{place}/{name}")
            count = line.injected.total()
            details = {"of_requests": len(line.requests), **line.injected}
            rows.append(Row(f"flawed requests to the store: {name}", count, count - len(losses), losses, seed, details))
    return rows


@contextlib.contextmanager
def flawed(store: str, variable: str, seed: int) -> Iterator[Line]:
    """A line to a store, over which it is reached where an environment variable says; it has no flaws until `share` is
    set."""
    with line_to(store) as line, mock.patch.dict(os.environ, {variable: line.endpoint}):
        line.drawn = random.Random(seed)
        with mock.patch.multiple(retry, **IMPATIENT):
            yield line


def publish_over(line: Line, place: str, versions: int = VERSIONS) -> list[str]:
    """Has so many runs publish one after another; returns what was lost."""
    line.share = SHARE
    outcomes = [publish(place, MODEL, f"run-{number}") for number in range(1, versions + 1)]
    line.share = 0.0
    lost = flaws(place, MODEL)
    if registry.list_versions(place, MODEL) != list(range(1, versions + 1)):
        lost.append(f"{versions} runs made the versions {registry.list_versions(place, MODEL)}")
    for number, outcome in enumerate(outcomes, start=1):
        extra = storage.join(place, MODEL, str(outcome["version"]), registry.EXTRA_ASSETS)
        if storage.read_bytes(f"{extra}/model.keras") != f"run-{number}".encode():
            lost.append(f"version {outcome['version']} is not that of run-{number}")
    found = production.read_production(place, MODEL)
    if found is None or [change.run_id for change in found.history] != ["run-1"]:
        lost.append(f"production must have come from run-1 alone, got {found}")
    return lost


def keep_over(line: Line, place: str, states: int = STATES) -> list[str]:
    """Saves so many states and reads them again; returns what was lost."""
    line.share = SHARE
    checkpoints = Checkpoints.of_task(place, "a-run", "a-task")
    arrays = [np.random.default_rng(number).random(10_000) for number in range(states)]
    for number, array in enumerate(arrays):
        checkpoints.save(number, {"weights": array}, {}, keep=True)
    read = [state.arrays["weights"] for state in checkpoints.all()]
    last = checkpoints.latest()
    storage.delete_tree(checkpoints.uri)
    line.share = 0.0
    lost = [f"state {n}" for n, (one, other) in enumerate(zip(arrays, read, strict=False)) if not (one == other).all()]
    if len(read) != states or last is None or last.number != states - 1:
        lost.append(f"of {states} states {len(read)} came back, the last is {last and last.number}")
    return [*lost, *(f"{entry.name} was not removed" for entry in storage.list_files(place))]
