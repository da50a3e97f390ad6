"""What the soak knows by its own bookkeeping: which decision is right, and what the registry must hold afterwards."""

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


class Made(NamedTuple):
    """A version: of which data, by which run, and what was in production when it was judged."""

    data: Hashable
    run_id: str
    judged_against: int | None


class Use(NamedTuple):
    """Bytes of the versions, and bytes and count of the files and folders beside them."""

    versions: int
    beside: int
    entries: int


class Ledger:
    """The registry's history as it must be; `place` is a folder, `served` what TensorFlow Serving would read."""

    def __init__(self, place: Path, served: Path) -> None:
        self.place, self.served = place, served
        self.made: list[Made] = []
        self.moves: list[int] = []

    @property
    def current(self) -> int | None:
        return self.moves[-1] if self.moves else None

    def right(self, event: Event, data: Hashable) -> str:
        """The decision that is right: what is broken is refused; what the version in production was made of is skipped,
        and what was last judged against it."""
        if event.kind == "breaks":
            return "refuse"
        known = {self.made[self.current - 1].data} if self.current else set()
        if self.made and self.made[-1].judged_against == self.current:
            known.add(self.made[-1].data)
        return "skip" if data in known else "train"

    def note(self, outcome: Outcome, data: Hashable, run_id: str) -> None:
        """Takes down what a schedule must have changed."""
        if outcome.decision == "train":
            self.made.append(Made(data, run_id, self.current))
        if outcome.promoted:
            self.moves.append(len(self.made))

    def roll_back(self) -> bool:
        """Has an operator go back to what was in production before; whether anything was."""
        try:
            before, now = production.rollback(str(self.place), MODEL, reason="soak")
        except ValueError:
            return False
        assert (before, now) == (self.current, now)
        self.moves.append(now)
        return True

    def check(self) -> None:
        """Compares the registry with what it must be.

        Raises:
            AssertionError: it is not.
        """
        place, numbers = str(self.place), list(range(1, len(self.made) + 1))
        assert registry.list_versions(place, MODEL) == numbers
        assert self._claims() == [made.run_id for made in self.made]
        found = production.read_production(place, MODEL)
        assert [change.version for change in (found.history if found else ())] == self.moves
        assert sync_models(place, MODEL, self.served) == self.current
        served = [path.name for path in (self.served / MODEL).iterdir()] if self.current else []
        assert served == [str(number) for number in (self.current,) if number]
        self._check_no_strays(numbers)
        if numbers:
            registry.verify_version(place, MODEL, numbers[-1])

    def verify_all(self) -> None:
        """Hashes every file of every version, and asks each who made it.

        Raises:
            AssertionError, ValueError: one is not what it was.
        """
        for number, made in enumerate(self.made, 1):
            registry.verify_version(str(self.place), MODEL, number)
            ((_, lineage),) = registry.read_file(
                str(self.place), MODEL, number, [f"{registry.EXTRA_ASSETS}/lineage.json"]
            )
            told = json.loads(lineage)
            assert (told["run_id"], told["parent"]) == (made.run_id, made.judged_against)

    def use(self) -> Use:
        """What the registry takes on disk."""
        versions = beside = entries = 0
        numbers = {str(number) for number in range(1, len(self.made) + 1)}
        for path in self.place.rglob("*"):
            inside = path.relative_to(self.place).parts
            size = path.stat().st_size if path.is_file() else 0
            if inside[0] == MODEL and len(inside) > 1 and inside[1] in numbers:
                versions += size
            else:
                beside, entries = beside + size, entries + 1
        return Use(versions, beside, entries)

    def _claims(self) -> list[str]:
        files = registry.files_below(f"{self.place}/{MODEL}/claims")
        claims = [json.loads(storage.read_bytes(each.uri)) for each in files]
        return [claim["run_id"] for claim in sorted(claims, key=lambda claim: int(claim["number"]))]

    def _check_no_strays(self, numbers: list[int]) -> None:
        """No draft, no checkpoint, nothing else that a run should have taken away."""
        expected = {MODEL, registry.CHECKPOINTS, *(f"{MODEL}/{number}" for number in numbers)}
        expected |= {f"{MODEL}/claims"} if numbers else set()
        expected |= {f"{MODEL}/{name}" for name in (production.POINTER, f".{production.POINTER}.lock") if self.moves}
        ours = (path.relative_to(self.place) for path in self.place.rglob("*"))
        found = {path.as_posix() for path in ours if len(path.parts) <= 2}
        assert found <= expected, f"left behind: {', '.join(sorted(found - expected))}"
