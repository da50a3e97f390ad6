"""Publishes versions and saves checkpoints through a proxy that rejects, drops, delays or loses requests."""

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
from tests.chaos.outcomes import registry_errors
from tests.chaos.row import Row
from tests.helpers.faulty_proxy import Line, line_to
from tests.helpers.publishers import publish

SHARE = 0.3  # of all requests
VERSIONS, STATES = 20, 50
MODEL = "chest"
# Short delays and timeouts for a test; the total retry time is unchanged.
FAST_RETRIES = {"INITIAL_BACKOFF": 0.01, "MAX_BACKOFF": 0.1, "CONNECT_TIMEOUT": 0.5, "READ_TIMEOUT": 0.5}


def measure(work: Path, *, seed: int, **_: float) -> list[Row]:
    """Measures publishing and checkpoints, each through its own proxy."""
    place = f"gs://{storage.EMBEDDED_BUCKET}/flawed"
    rows = []
    with embedded_store(work / "flawed") as store:
        for name, measure_losses in (("publish", publish_versions), ("checkpoints", save_checkpoints)):
            with faulty_line(store, storage.EMBEDDED_ENDPOINT_VARIABLE, seed) as line:
                losses = measure_losses(line, f"{place}/{name}")
            count = line.injected.total()
            details = {"of_requests": len(line.requests), **line.injected}
            rows.append(Row(f"flawed requests to the store: {name}", count, count - len(losses), losses, seed, details))
    return rows


@contextlib.contextmanager
def faulty_line(store: str, variable: str, seed: int) -> Iterator[Line]:
    """Starts a proxy and sets an environment variable to its endpoint. It injects no faults until `share` is set."""
    with line_to(store) as line, mock.patch.dict(os.environ, {variable: line.endpoint}):
        line.drawn = random.Random(seed)
        with mock.patch.multiple(retry, **FAST_RETRIES):
            yield line


def publish_versions(line: Line, place: str, versions: int = VERSIONS) -> list[str]:
    """Publishes versions of several runs, one after another; returns the losses."""
    line.share = SHARE
    outcomes = [publish(place, MODEL, f"run-{number}") for number in range(1, versions + 1)]
    line.share = 0.0
    losses = registry_errors(place, MODEL)
    if registry.list_versions(place, MODEL) != list(range(1, versions + 1)):
        losses.append(f"{versions} runs published the versions {registry.list_versions(place, MODEL)}")
    for number, outcome in enumerate(outcomes, start=1):
        extra = storage.join(place, MODEL, str(outcome["version"]), registry.EXTRA_ASSETS)
        if storage.read_bytes(f"{extra}/model.keras") != f"run-{number}".encode():
            losses.append(f"version {outcome['version']} does not belong to run-{number}")
    current = production.read_production(place, MODEL)
    if current is None or [change.run_id for change in current.history] != ["run-1"]:
        losses.append(f"only run-1 must have changed production, got {current}")
    return losses


def save_checkpoints(line: Line, place: str, states: int = STATES) -> list[str]:
    """Saves states and reads them back; returns the losses."""
    line.share = SHARE
    checkpoints = Checkpoints.of_task(place, "a-run", "a-task")
    arrays = [np.random.default_rng(number).random(10_000) for number in range(states)]
    for number, array in enumerate(arrays):
        checkpoints.save(number, {"weights": array}, {}, keep=True)
    read = [state.arrays["weights"] for state in checkpoints.all()]
    last = checkpoints.latest()
    storage.delete_tree(checkpoints.uri)
    line.share = 0.0
    losses = [
        f"state {n}" for n, (one, other) in enumerate(zip(arrays, read, strict=False)) if not (one == other).all()
    ]
    if len(read) != states or last is None or last.number != states - 1:
        losses.append(f"read {len(read)} of {states} states, the last is {last and last.number}")
    return [*losses, *(f"{entry.name} was not deleted" for entry in storage.list_files(place))]
