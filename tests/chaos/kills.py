"""Kills the local pipeline at random moments until the kills are used up, and compares every run with one that nobody
disturbed."""

from __future__ import annotations

import collections
import itertools
import time
from collections.abc import Iterable
from pathlib import Path

from radiograft_pipelines.local.object_store import embedded_store
from tests.chaos.killed_runs import REGISTRY, KilledRun, Moment, moments
from tests.chaos.outcomes import MODEL, digests, flaws, left_over, repeated_epochs
from tests.chaos.row import Row

KILLS_A_RUN = 10


def measure(work: Path, *, kills: int, seed: int, minutes: float) -> list[Row]:
    """Kills as often as that, or for so long, over as many runs as it takes, each brought to its end."""
    start = time.monotonic()
    expected, seconds = undisturbed(work)
    where, losses, runs = list[str](), list[str](), 0
    planned = itertools.takewhile(lambda _: time.monotonic() < start + 60 * minutes, moments(kills, seconds, seed))
    for moment in planned:
        runs += 1
        run = KilledRun(work / f"killed-{runs}")
        killed, wrong = kill(run, itertools.chain([moment], itertools.islice(planned, KILLS_A_RUN - 1)))
        where += killed
        losses += [f"run {runs}: {each}" for each in [*wrong, *compare(run, expected)]]
    details = {
        "stages": dict(collections.Counter(where)),
        "runs": runs,
        "files_compared": len(expected) * runs,
        "seconds": round(time.monotonic() - start),
    }
    return [Row("SIGKILL to a run's whole process group", len(where), len(where) - len(losses), losses, seed, details)]


def undisturbed(work: Path) -> tuple[dict[str, str], dict[str, float]]:
    """Digests of what a run leaves that nobody disturbs, and what each of its stages takes, in seconds."""
    run = KilledRun(work / "undisturbed")
    if not (run.out / "latest").exists():  # another kind of fault has asked before
        run.attempt()
    return digests(run.summary(), run.out), run.summary()["seconds"]


def kill(run: KilledRun, planned: Iterable[Moment]) -> tuple[list[str], list[str]]:
    """Kills a run at these moments, then lets it end; one that ends before its time has come is killed no more.

    Returns:
        The stages in which it was killed, and what a reader of the registry would have found wrong in between.
    """
    where: list[str] = []
    wrong: list[str] = []
    for moment in planned:
        stage = run.attempt(moment)
        if not stage:
            return where, wrong
        where.append(stage)
        print(f"killed {moment.seconds:.1f} s after {moment.stage} began, in {stage}", flush=True)
        with embedded_store(run.out / "store"):
            wrong += [f"after kill {len(where)} in {stage}: {flaw}" for flaw in flaws(REGISTRY, MODEL)]
    run.attempt()
    return where, wrong


def compare(run: KilledRun, expected: dict[str, str]) -> list[str]:
    """What a run that was disturbed has lost, against the digests of one that nobody disturbed."""
    found = digests(run.summary(), run.out)
    names = sorted(expected.keys() | found.keys())
    lost = [f"{name} differs" for name in names if expected.get(name) != found.get(name)]
    with embedded_store(run.out / "store"):
        lost += [f"left over: {each}" for each in itertools.chain(flaws(REGISTRY, MODEL), left_over(REGISTRY, MODEL))]
    if (repeated := repeated_epochs(run.said())) > 1:
        lost.append(f"{repeated} epochs of one stage were trained again after one failure")
    return lost
