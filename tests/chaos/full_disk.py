"""Runs the pipeline on a disk that is too small, enlarges it after every failure and compares the result."""

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
from tests.chaos.kills import compare, reference_run
from tests.chaos.outcomes import MODEL, registry_errors
from tests.chaos.row import Row

SIZES_MB = (2, 6, 20, 40, 60, 90, 2000)  # a whole run takes about 130 MB
ERROR_LINE = re.compile(r"^(?:\S*Error|\S*Exception): (.*)$", re.MULTILINE)
NO_SPACE = re.compile(r"no space left|disk", re.IGNORECASE)


def measure(work: Path, **_: float) -> list[Row]:
    """Measures runs on a full disk. Mounting the disk requires root."""
    if os.geteuid():
        return [Row("disk full (skipped: only root can mount a small disk)", 0, 0, [])]
    expected, _ = reference_run(work)
    with small_disk(work / "full", SIZES_MB[0]):
        run = KilledRun(work / "full" / "run", TMPDIR=str(work / "full"))
        errors, losses = fill_disk(run, work / "full")
        losses += compare(run, expected)
    return [Row("disk full", len(errors), len(errors) - len(losses), losses, None, {"sizes_mb": SIZES_MB})]


def fill_disk(run: KilledRun, disk: Path) -> tuple[list[str], list[str]]:
    """Runs on ever larger disks until the run succeeds; returns its error messages and the losses."""
    errors, losses = list[str](), list[str]()
    for size, larger in itertools.pairwise(SIZES_MB):
        failure = run.failure()
        if failure is None:
            return errors, losses
        errors.append(last_error(failure))
        if not NO_SPACE.search(errors[-1]):
            losses.append(f"with {size} MB the error does not mention the disk: {errors[-1]}")
        resize(disk, larger)
        with embedded_store(run.out / "store"):
            losses += [f"with {size} MB: {error}" for error in registry_errors(REGISTRY, MODEL)]
    run.attempt()
    return errors, losses


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mounts an in-memory disk of this size on a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, megabytes: int) -> None:
    """Changes the size of the disk."""
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(folder)], check=True)


def last_error(output: str) -> str:
    """Returns the message of the last error in the output of a failed run."""
    errors = ERROR_LINE.findall(output)
    return errors[-1] if errors else output[-300:]
