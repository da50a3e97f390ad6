"""A registry under load, on disk and in buckets: concurrent publishers, and readers during production changes."""

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
def open_registries(work: Path) -> Iterator[dict[str, str]]:
    """Yields a folder and a prefix of the embedded store and of the S3 double, by kind."""
    with embedded_store(work / "store"), s3_double() as bucket:
        yield {"disk": str(work / "disk"), "gs": f"gs://{EMBEDDED_BUCKET}/soak", "s3": f"{bucket}/soak"}


def measure_moves(work: Path, count: int, seed: int, print_progress: Callable[[str], None]) -> list[Row]:
    """Changes production `count` times in each kind of store while readers poll it."""
    rows = []
    with open_registries(work) as registries:
        for kind, place in registries.items():
            print_progress(f"{count} production changes on {kind}")
            (work / f"served-{kind}").mkdir()
            rows.append(_measure_moves(kind, place, work / f"served-{kind}", count, seed))
    return rows


def _measure_moves(kind: str, place: str, served: Path, count: int, seed: int) -> Row:
    production_moves.stock(place)
    moves: dict[str, int] = {}
    reads: dict[str, int] = {}
    errors = []
    try:
        with looking(place, served) as reads:
            moves = production_moves.make(place, count, seed)
    except AssertionError as error:
        errors.append(str(error))
    details = {**moves, **{f"reads_{role}": n for role, n in reads.items()}}
    return Row(f"moves, {kind}", count, errors, seed, details)


def measure_races(work: Path, count: int, seed: int, print_progress: Callable[[str], None]) -> list[Row]:
    """Runs `count` races of WRITERS concurrent publishers in each kind of store."""
    with open_registries(work) as registries:
        return [_measure_races(kind, place, count, print_progress) for kind, place in registries.items()]


def _measure_races(kind: str, place: str, count: int, print_progress: Callable[[str], None]) -> Row:
    errors = []
    for number in range(count):
        print_progress(f"race {number + 1} of {count} of {WRITERS} publishers on {kind}")
        registry_uri = f"{place}/race-{number}"
        command = [sys.executable, "-m", "tests.helpers.publishers", "at-once", registry_uri, str(WRITERS)]
        process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        outcomes = [json.loads(line) for line in process.stdout.splitlines()]
        if sorted(outcome["version"] for outcome in outcomes) != registry.list_versions(registry_uri, MODEL):
            errors.append(f"{registry_uri}: versions lost or shared")
        if sum(outcome["promoted"] for outcome in outcomes) != 1:
            errors.append(f"{registry_uri}: not exactly one in production")
        for outcome in outcomes:
            registry.verify_version(registry_uri, MODEL, outcome["version"])
    return Row(f"races, {kind}", count * WRITERS, errors, None, {})
