"""Recurring retraining on an archive that lives: the right decision each time, and nothing that grows but versions."""

from __future__ import annotations

import collections
import contextlib
import random
import shutil
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.soak import schedule
from tests.soak.expected_decisions import Ledger, Use
from tests.soak.row import Row
from tests.soak.schedule import Outcome
from tests.soak.simulated_archive import Event, Hospital

ROLLBACKS = 0.06  # schedules before which an operator goes back to the version before
BESIDE_A_VERSION = 1500  # bytes: its claim and its moves into production
ENTRIES_A_VERSION = 2  # its claim and the claim's lock
ENTRIES = 5  # the model's folder, that of the claims, the pointer and its lock, the folder of all checkpoints
TENSORFLOWS_OWN = "__autograph_generated_file"  # which goes when its process ends
GROWTH = 1.1  # of what a later schedule needs over what an earlier one needed


class Soak:
    """An archive, a registry, and what happened to them."""

    def __init__(self, work: Path, seed: int) -> None:
        self.hospital = Hospital(work / "archive", seed)
        self.ledger = Ledger(work / "registry", work / "served")
        self.work, self.scratch = work, work / "scratch"
        for folder in (self.ledger.place, self.ledger.served, self.scratch):
            folder.mkdir()
        self.wrong: list[str] = []
        self.outcomes: list[Outcome] = []
        self.counts: collections.Counter[str] = collections.Counter()
        self._operator = random.Random(seed + 1)

    def step(self, run: Callable[[Path, str], Outcome], number: int) -> str:
        """Lets time pass until the next schedule, has it run by `run`, judges it, and tells what happened."""
        event = self.hospital.next() if number else Event("changes", "the first images")
        if self._operator.random() < ROLLBACKS and self.ledger.roll_back():
            self.counts["rollbacks"] += 1
        right, run_id = self.ledger.right(event, self.hospital.data), f"run-{number}"
        outcome = run(self.work / run_id, run_id)
        shutil.rmtree(self.work / run_id, ignore_errors=True)  # artifacts, which are KFP's to keep
        self.outcomes.append(outcome)
        self.counts.update((event.kind, outcome.decision, *("promoted",) * outcome.promoted))
        self.ledger.note(outcome, self.hospital.data, run_id)
        told = f"{number:3d} {event.kind:8} {event.how:48} {outcome.decision:7}"
        if outcome.decision != right:
            self.wrong.append(f"{told}, {right} would be right: {outcome.reason}")
        with self._complaining(told):
            self.ledger.check()
            left = {path.name for path in self.scratch.iterdir() if not path.name.startswith(TENSORFLOWS_OWN)}
            assert not left, f"left on the scratch disk: {', '.join(left)}"
        standing = f"version {outcome.version} {'production' if outcome.promoted else 'candidate'}"
        return f"{told} {standing if outcome.version else '':23} {outcome.seconds:5.1f} s {outcome.peak:6.0f} MB"

    def end(self) -> None:
        """What must hold after all schedules."""
        with self._complaining("in the end"):
            self.ledger.verify_all()
            use, versions = self.ledger.use(), len(self.ledger.made)
            assert use.beside <= BESIDE_A_VERSION * versions, f"{use.beside} bytes beside {versions} versions"
            assert use.entries <= ENTRIES + ENTRIES_A_VERSION * versions, f"{use.entries} entries beside the versions"
            earlier, later = self.peaks()
            assert later <= GROWTH * earlier, f"memory grew from {earlier:.0f} to {later:.0f} MB"

    def peaks(self) -> tuple[float, float]:
        """Median of the most memory, in MB, that an earlier and that a later half of the trainings held."""
        peaks = [outcome.peak for outcome in self.outcomes if outcome.decision == "train"]
        half = -(-len(peaks) // 2)
        return statistics.median(peaks[:half]), statistics.median(peaks[-half:])

    @contextlib.contextmanager
    def _complaining(self, told: str) -> Iterator[None]:
        try:
            yield
        except (AssertionError, ValueError, OSError) as error:
            self.wrong.append(f"{told}: {error!r}")


def measure(work: Path, schedules: int, seed: int, tell: Callable[[str], None]) -> Row:
    """Runs the schedules one after another."""
    soak = Soak(work, seed)
    with schedule.processes() as pool:

        def run(artifacts: Path, run_id: str) -> Outcome:
            arguments = (soak.hospital.folder, str(soak.ledger.place), soak.scratch, artifacts, run_id)
            return pool.submit(schedule.run, *arguments).result()

        for number in range(schedules):
            before = len(soak.wrong)
            tell(soak.step(run, number))
            for wrong in soak.wrong[before:]:
                tell(f"wrong: {wrong}")
    soak.end()
    return Row("schedules", schedules, soak.wrong, seed, _details(soak, soak.ledger.use()))


def _details(soak: Soak, use: Use) -> dict[str, int | float]:
    versions = len(soak.ledger.made)
    earlier, later = soak.peaks()
    seconds = {kind: [each.seconds for each in soak.outcomes if each.decision == kind] for kind in ("train", "skip")}
    return {
        **dict(sorted(soak.counts.items())),
        "versions": versions,
        "MB_a_version": round(use.versions / versions / 1e6, 1),
        "bytes_beside_a_version": round(use.beside / versions),
        "peak_MB_earlier": round(earlier),
        "peak_MB_later": round(later),
        **{f"seconds_a_{kind}": round(statistics.median(found or [0.0]), 1) for kind, found in seconds.items()},
    }
