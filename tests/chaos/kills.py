"""Kills the local pipeline at random moments and compares every run with an undisturbed reference run."""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Iterable
from pathlib import Path

from radiograft_pipelines.local.object_store import embedded_store
from tests.chaos.killed_runs import REGISTRY, KilledRun, Moment, moments
from tests.chaos.outcomes import MODEL, digests, leftovers, registry_errors, repeated_epochs
from tests.chaos.row import Row

KILLS_A_RUN = 10


def measure(work: Path, *, kills: int, seed: int, minutes: float) -> list[Row]:
    """Kills runs until `kills` or `minutes` is reached. Every run is then resumed to its end."""
    start = time.monotonic()
    expected, seconds = reference_run(work)
    where, losses, runs = list[str](), list[str](), 0
    planned = itertools.takewhile(lambda _: time.monotonic() < start + 60 * minutes, moments(kills, seconds, seed))
    for moment in planned:
        runs += 1
        run = KilledRun(work / f"killed-{runs}")
        killed, errors = kill(run, itertools.chain([moment], itertools.islice(planned, KILLS_A_RUN - 1)))
        where += killed
        losses += [f"run {runs}: {loss}" for loss in [*errors, *compare(run, expected)]]
    details = {
        "stages": dict(collections.Counter(where)),
        "runs": runs,
        "files_compared": len(expected) * runs,
        "seconds": round(time.monotonic() - start),
    }
    return [Row("SIGKILL to a run's whole process group", len(where), len(where) - len(losses), losses, seed, details)]


def reference_run(work: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Runs the pipeline undisturbed; returns the digests of its outputs and the duration of each stage in seconds."""
    run = KilledRun(work / "reference")
    if not (run.out / "latest").exists():  # may exist from another kind of fault
        run.attempt()
    return digests(run.summary(), run.out), run.summary()["seconds"]


def kill(run: KilledRun, planned: Iterable[Moment]) -> tuple[list[str], list[str]]:
    """Kills a run at these moments, then resumes it to its end. Stops early if the run ends before a moment.

    Returns:
        The stages in which the run was killed, and the errors that readers of the registry would have seen meanwhile.
    """
    where: list[str] = []
    errors: list[str] = []
    for moment in planned:
        stage = run.attempt(moment)
        if not stage:
            return where, errors
        where.append(stage)
        print(f"killed {moment.seconds:.1f} s after {moment.stage} began, in {stage}", flush=True)
        with embedded_store(run.out / "store"):
            errors += [f"after kill {len(where)} in {stage}: {error}" for error in registry_errors(REGISTRY, MODEL)]
    run.attempt()
    return where, errors


def compare(run: KilledRun, expected: dict[str, str]) -> list[str]:
    """Returns the losses of a run relative to the digests of the reference run."""
    actual = digests(run.summary(), run.out)
    names = sorted(expected.keys() | actual.keys())
    losses = [f"{name} differs" for name in names if expected.get(name) != actual.get(name)]
    with embedded_store(run.out / "store"):
        losses += registry_errors(REGISTRY, MODEL)
        losses += [f"left over: {name}" for name in leftovers(REGISTRY, MODEL)]
    if (repeated := repeated_epochs(run.log())) > 1:
        losses.append(f"{repeated} epochs of one stage were trained again after one failure")
    return losses
