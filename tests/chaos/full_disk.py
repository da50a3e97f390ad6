"""Runs the pipeline on a disk that is too small, gives it more room after every failure, and compares its end."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from radiograft_pipelines.local.object_store import embedded_store
from tests.chaos.killed_runs import REGISTRY, KilledRun
from tests.chaos.kills import compare, undisturbed
from tests.chaos.outcomes import MODEL, flaws
from tests.chaos.row import Row

SIZES_MB = (2, 6, 20, 40, 60, 90, 2000)  # a whole run takes about 130 MB
LAST_WORDS = re.compile(r"^(?:\S*Error|\S*Exception): (.*)$", re.MULTILINE)
NO_SPACE = re.compile(r"no space left|disk", re.IGNORECASE)


def measure(work: Path, **_: float) -> list[Row]:
    """Needs root, for a disk of its own."""
    if os.geteuid():
        return [Row("disk full (skipped: only root can mount a small disk)", 0, 0, [])]
    expected, _ = undisturbed(work)
    with small_disk(work / "full", SIZES_MB[0]):
        run = KilledRun(work / "full" / "run", TMPDIR=str(work / "full"))
        told, losses = fill(run, work / "full")
        losses += compare(run, expected)
    return [Row("disk full", len(told), len(told) - len(losses), losses, None, {"sizes_mb": SIZES_MB})]


def fill(run: KilledRun, disk: Path) -> tuple[list[str], list[str]]:
    """Has a run fail on one size after another until the last is enough; returns what it told, and what was lost."""
    told, losses = list[str](), list[str]()
    for size, larger in itertools.pairwise(SIZES_MB):
        failure = run.failure()
        if failure is None:
            return told, losses
        told.append(last_words(failure))
        if not NO_SPACE.search(told[-1]):
            losses.append(f"with {size} MB it was not told what is wrong: {told[-1]}")
        resize(disk, larger)
        with embedded_store(run.out / "store"):
            losses += [f"with {size} MB: {flaw}" for flaw in flaws(REGISTRY, MODEL)]
    run.attempt()
    return told, losses


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A disk of so many megabytes in memory, mounted on a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, megabytes: int) -> None:
    """Gives a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(folder)], check=True)


def last_words(said: str) -> str:
    """What a failed run says of the error."""
    found = LAST_WORDS.findall(said)
    return found[-1] if found else said[-300:]
