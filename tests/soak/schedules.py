"""Recurring retraining on a changing archive: every decision must be right, and only versions may accumulate."""

from __future__ import annotations

import collections
import contextlib
import random
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.soak import schedule
from tests.soak.expected_decisions import DiskUsage, Ledger
from tests.soak.row import Row
from tests.soak.schedule import Outcome
from tests.soak.simulated_archive import Event, SimulatedArchive

ROLLBACK_FRACTION = 0.06  # of scheduled runs that follow a rollback
MAX_OTHER_BYTES_PER_VERSION = 1500  # its claim and its changes of production
MAX_ENTRIES_PER_VERSION = 2  # its claim and the lock of the claim
MAX_ENTRIES = 5  # folders of the model, the claims and the checkpoints; the pointer and its lock
TENSORFLOW_PREFIX = "__autograph_generated_file"  # deleted when the process ends
MAX_MEMORY_GROWTH = 1.1  # later runs relative to earlier ones


class Soak:
    """An archive, a registry and their history."""

    def __init__(self, work: Path, seed: int) -> None:
        self.archive = SimulatedArchive(work / "archive", seed)
        self.ledger = Ledger(work / "registry", work / "served")
        self.work, self.scratch = work, work / "scratch"
        for folder in (self.ledger.place, self.ledger.served, self.scratch):
            folder.mkdir()
        self.errors: list[str] = []
        self.outcomes: list[Outcome] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self._operator = random.Random(seed + 1)

    def step(self, run: Callable[[Path, str], Outcome], number: int) -> str:
        """Changes the archive, starts the next scheduled run with `run` and checks it; returns a line for the log."""
        event = self.archive.next() if number else Event("changes", "the first images")
        if self._operator.random() < ROLLBACK_FRACTION and self.ledger.roll_back():
            self.counts["rollbacks"] += 1
        expected, run_id = self.ledger.expected_decision(event, self.archive.data), f"run-{number}"
        outcome = run(self.work / run_id, run_id)
        shutil.rmtree(self.work / run_id, ignore_errors=True)  # artifacts, which KFP would keep
        self.outcomes.append(outcome)
        self.counts.update([event.kind, outcome.decision] + (["promoted"] if outcome.promoted else []))
        self.ledger.record(outcome, self.archive.data, run_id)
        line = f"{number:3d} {event.kind:8} {event.how:48} {outcome.decision:7}"
        if outcome.decision != expected:
            self.errors.append(f"{line}, expected {expected}: {outcome.reason}")
        with self._collect_errors(line):
            self.ledger.check()
            leftovers = {path.name for path in self.scratch.iterdir() if not path.name.startswith(TENSORFLOW_PREFIX)}
            assert not leftovers, f"left on the scratch disk: {', '.join(leftovers)}"
        status = f"version {outcome.version} {'production' if outcome.promoted else 'candidate'}"
        return f"{line} {status if outcome.version else '':23} {outcome.seconds:5.1f} s {outcome.peak:6.0f} MB"

    def end(self) -> None:
        """Checks the registry and the memory use after all scheduled runs."""
        with self._collect_errors("at the end"):
            self.ledger.verify_all()
            usage, versions = self.ledger.disk_usage(), len(self.ledger.versions)
            max_entries = MAX_ENTRIES + MAX_ENTRIES_PER_VERSION * versions
            assert usage.other_bytes <= MAX_OTHER_BYTES_PER_VERSION * versions, f"{usage.other_bytes} other bytes"
            assert usage.other_entries <= max_entries, f"{usage.other_entries} other entries"
            earlier, later = self.peaks()
            assert later <= MAX_MEMORY_GROWTH * earlier, f"memory grew from {earlier:.0f} to {later:.0f} MB"

    def peaks(self) -> tuple[float, float]:
        """Returns the median peak memory, in MB, of the earlier and of the later half of the trainings."""
        peaks = [outcome.peak for outcome in self.outcomes if outcome.decision == "train"]
        half = -(-len(peaks) // 2)
        return statistics.median(peaks[:half]), statistics.median(peaks[-half:])

    @contextlib.contextmanager
    def _collect_errors(self, line: str) -> Iterator[None]:
        try:
            yield
        except (AssertionError, ValueError, OSError) as error:
            self.errors.append(f"{line}: {error!r}")


def measure(work: Path, schedules: int, seed: int, print_progress: Callable[[str], None]) -> Row:
    """Runs the schedules one after another."""
    soak = Soak(work, seed)
    with schedule.processes() as pool:

        def run(artifacts: Path, run_id: str) -> Outcome:
            arguments = (soak.archive.folder, str(soak.ledger.place), soak.scratch, artifacts, run_id)
            return pool.submit(schedule.run, *arguments).result()

        for number in range(schedules):
            error_count = len(soak.errors)
            print_progress(soak.step(run, number))
            for error in soak.errors[error_count:]:
                print_progress(f"error: {error}")
    soak.end()
    return Row("schedules", schedules, soak.errors, seed, _details(soak, soak.ledger.disk_usage()))


def _details(soak: Soak, usage: DiskUsage) -> dict[str, int | float]:
    versions = len(soak.ledger.versions)
    earlier, later = soak.peaks()
    seconds = {
        decision: [outcome.seconds for outcome in soak.outcomes if outcome.decision == decision]
        for decision in ("train", "skip")
    }
    return {
        **dict(sorted(soak.counts.items())),
        "versions": versions,
        "MB_per_version": round(usage.version_bytes / versions / 1e6, 1),
        "other_bytes_per_version": round(usage.other_bytes / versions),
        "peak_MB_earlier": round(earlier),
        "peak_MB_later": round(later),
        **{f"seconds_per_{name}": round(statistics.median(values or [0.0]), 1) for name, values in seconds.items()},
    }
