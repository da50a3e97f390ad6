"""A registry under load, on disk and in buckets: many publishers at once, and readers while production moves."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from radiograft.registry import versions as registry
from radiograft.storage import EMBEDDED_BUCKET
from radiograft_pipelines.local.object_store import embedded_store
from tests.helpers import production_moves
from tests.helpers.readers import MODEL, looking
from tests.helpers.s3_double import s3_double
from tests.repository import ROOT
from tests.soak.row import Row

WRITERS = 32


@contextlib.contextmanager
def places(work: Path) -> Iterator[dict[str, str]]:
    """A folder, and a prefix of the embedded store and of the S3 double, by what they are."""
    with embedded_store(work / "store"), s3_double() as bucket:
        yield {"disk": str(work / "disk"), "gs": f"gs://{EMBEDDED_BUCKET}/soak", "s3": f"{bucket}/soak"}


def measure_moves(work: Path, count: int, seed: int, tell: Callable[[str], None]) -> list[Row]:
    """Moves production `count` times in each kind of store while readers look."""
    rows = []
    with places(work) as found:
        for kind, place in found.items():
            tell(f"{count} moves of production on {kind}")
            (work / f"served-{kind}").mkdir()
            rows.append(_moved(kind, place, work / f"served-{kind}", count, seed))
    return rows


def _moved(kind: str, place: str, served: Path, count: int, seed: int) -> Row:
    production_moves.stock(place)
    made: dict[str, int] = {}
    looks: dict[str, int] = {}
    wrong = []
    try:
        with looking(place, served) as looks:
            made = production_moves.make(place, count, seed)
    except AssertionError as error:
        wrong.append(str(error))
    return Row(f"moves, {kind}", count, wrong, seed, {**made, **{f"looks_{role}": n for role, n in looks.items()}})


def measure_races(work: Path, count: int, seed: int, tell: Callable[[str], None]) -> list[Row]:
    """Has WRITERS publish at once `count` times in each kind of store."""
    with places(work) as found:
        return [_raced(kind, place, count, tell) for kind, place in found.items()]


def _raced(kind: str, place: str, count: int, tell: Callable[[str], None]) -> Row:
    wrong = []
    for number in range(count):
        tell(f"race {number + 1} of {count} of {WRITERS} publishers on {kind}")
        at = f"{place}/race-{number}"
        command = [sys.executable, "-m", "tests.helpers.publishers", "at-once", at, str(WRITERS)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        outcomes = [json.loads(line) for line in done.stdout.splitlines()]
        if sorted(each["version"] for each in outcomes) != registry.list_versions(at, MODEL):
            wrong.append(f"{at}: versions lost or shared")
        if sum(each["promoted"] for each in outcomes) != 1:
            wrong.append(f"{at}: not exactly one in production")
        for each in outcomes:
            registry.verify_version(at, MODEL, each["version"])
    return Row(f"races, {kind}", count * WRITERS, wrong, None, {})
