"""Expected decisions and registry contents, derived from the soak test's own records."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import NamedTuple

from radiograft import storage
from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.serving.sync import sync_models
from tests.soak.schedule import Outcome
from tests.soak.simulated_archive import Event

MODEL = "chest-radiograph"


class ExpectedVersion(NamedTuple):
    """A version: its data, its run, and the production version that it was compared with."""

    data: Hashable
    run_id: str
    compared_with: int | None


class DiskUsage(NamedTuple):
    """Bytes of all versions, and bytes and number of all other files and folders."""

    version_bytes: int
    other_bytes: int
    other_entries: int


class Ledger:
    """The expected history of a registry in the folder `place`; `served` is the folder of TensorFlow Serving."""

    def __init__(self, place: Path, served: Path) -> None:
        self.place, self.served = place, served
        self.versions: list[ExpectedVersion] = []
        self.production_history: list[int] = []

    @property
    def current(self) -> int | None:
        return self.production_history[-1] if self.production_history else None

    def expected_decision(self, event: Event, data: Hashable) -> str:
        """Returns `refuse` for a corrupt archive, `skip` for known data and `train` otherwise.

        Known data are those of the production version and those of the last version compared with it.
        """
        if event.kind == "breaks":
            return "refuse"
        known = {self.versions[self.current - 1].data} if self.current else set()
        if self.versions and self.versions[-1].compared_with == self.current:
            known.add(self.versions[-1].data)
        return "skip" if data in known else "train"

    def record(self, outcome: Outcome, data: Hashable, run_id: str) -> None:
        """Records the expected effect of a scheduled run."""
        if outcome.decision == "train":
            self.versions.append(ExpectedVersion(data, run_id, self.current))
        if outcome.promoted:
            self.production_history.append(len(self.versions))

    def roll_back(self) -> bool:
        """Rolls back as an operator would; returns False if there is no earlier production version."""
        try:
            before, now = production.rollback(str(self.place), MODEL, reason="soak")
        except ValueError:
            return False
        assert (before, now) == (self.current, now)
        self.production_history.append(now)
        return True

    def check(self) -> None:
        """Compares the registry with the expected history.

        Raises:
            AssertionError: they differ.
        """
        place, numbers = str(self.place), list(range(1, len(self.versions) + 1))
        assert registry.list_versions(place, MODEL) == numbers
        assert self._claims() == [version.run_id for version in self.versions]
        pointer = production.read_production(place, MODEL)
        assert [change.version for change in (pointer.history if pointer else ())] == self.production_history
        assert sync_models(place, MODEL, self.served) == self.current
        served_names = [path.name for path in (self.served / MODEL).iterdir()] if self.current else []
        assert served_names == [str(number) for number in (self.current,) if number]
        self._check_no_leftovers(numbers)
        if numbers:
            registry.verify_version(place, MODEL, numbers[-1])

    def verify_all(self) -> None:
        """Verifies every file of every version, and its lineage.

        Raises:
            AssertionError, ValueError: a version has changed.
        """
        for number, version in enumerate(self.versions, 1):
            registry.verify_version(str(self.place), MODEL, number)
            ((_, lineage),) = registry.read_file(
                str(self.place), MODEL, number, [f"{registry.EXTRA_ASSETS}/lineage.json"]
            )
            origin = json.loads(lineage)
            assert (origin["run_id"], origin["parent"]) == (version.run_id, version.compared_with)

    def disk_usage(self) -> DiskUsage:
        """Measures the registry on disk."""
        version_bytes = other_bytes = other_entries = 0
        numbers = {str(number) for number in range(1, len(self.versions) + 1)}
        for path in self.place.rglob("*"):
            parts = path.relative_to(self.place).parts
            size = path.stat().st_size if path.is_file() else 0
            if parts[0] == MODEL and len(parts) > 1 and parts[1] in numbers:
                version_bytes += size
            else:
                other_bytes, other_entries = other_bytes + size, other_entries + 1
        return DiskUsage(version_bytes, other_bytes, other_entries)

    def _claims(self) -> list[str]:
        files = registry.files_below(f"{self.place}/{MODEL}/claims")
        claims = [json.loads(storage.read_bytes(file.uri)) for file in files]
        return [claim["run_id"] for claim in sorted(claims, key=lambda claim: int(claim["number"]))]

    def _check_no_leftovers(self, numbers: list[int]) -> None:
        """Asserts that no run has left a draft, a checkpoint or another file."""
        expected = {MODEL, registry.CHECKPOINTS, *(f"{MODEL}/{number}" for number in numbers)}
        expected |= {f"{MODEL}/claims"} if numbers else set()
        expected |= {
            f"{MODEL}/{name}" for name in (production.POINTER, f".{production.POINTER}.lock") if self.production_history
        }
        paths = (path.relative_to(self.place) for path in self.place.rglob("*"))
        actual = {path.as_posix() for path in paths if len(path.parts) <= 2}
        assert actual <= expected, f"left over: {', '.join(sorted(actual - expected))}"
