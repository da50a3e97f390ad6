"""Readers of model `chest` in processes of their own: they look again and again until their standard input ends.

`python -m tests.helpers.readers ROLE REGISTRY FOLDER` prints `ready` after its first look and in the end how
often it looked; what must never be seen ends it with a traceback. FOLDER is where `mirror` keeps what is in production.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from radiograft.registry import production
from radiograft.registry import versions as registry
from radiograft.serving.sync import sync_models
from tests.repository import ROOT

MODEL = "chest"
STOP_SECONDS = 120


class WithdrawnError(Exception):
    """A version went out of production while it was looked at."""


def follow(place: str, folder: Path) -> None:
    """What runs beside TensorFlow Serving."""
    assert sync_models(place, MODEL, folder) is not None


def serve(place: str, folder: Path) -> None:
    """What TensorFlow Serving, started now, loads: the highest number, every file of it that version's own."""
    version = max((folder / MODEL).iterdir(), key=lambda path: int(path.name))
    expected = _digests(place, int(version.name))
    with contextlib.suppress(WithdrawnError), _there(version):
        found = {name: hashlib.sha256((version / name).read_bytes()).hexdigest() for name in expected}
        assert found == expected


def list_versions(place: str, folder: Path) -> None:
    """`models list`: every number up to the highest, one of them in production."""
    from radiograft_pipelines.cli import models

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        # Without its outer part, which would start the embedded store that the test has started.
        models.list_versions.callback.__wrapped__(models.RegistryRef(place, MODEL))
    rows = [words for line in printed.getvalue().splitlines() if (words := line.split()) and words[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1)), printed.getvalue()
    assert [row[1] for row in rows].count("production") == 1, printed.getvalue()


def verify(place: str, folder: Path) -> None:
    """`models verify` of the version in production, before it asks the network; all files are of one run."""
    found = production.read_production(place, MODEL)
    assert found is not None
    registry.verify_version(place, MODEL, found.version)
    names = [f"{registry.EXTRA_ASSETS}/{name}" for name in ("model.keras", "lineage.json")]
    (_, model), (_, lineage) = registry.read_file(place, MODEL, found.version, names)
    assert json.loads(lineage)["run_id"] == model.decode()


READERS: dict[str, Callable[[str, Path], None]] = {
    "follow": follow, "serve": serve, "list": list_versions, "verify": verify
}  # fmt: skip


@contextlib.contextmanager
def looking(place: str, folder: Path) -> Iterator[dict[str, int]]:
    """Has all readers look while the block runs; afterwards what it yields tells how often each did.

    A version must be in production. `folder` must be empty.

    Raises:
        AssertionError: a reader saw what it must not see.
    """
    follow(place, folder)
    looks: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        readers = {role: stack.enter_context(_started(role, place, folder)) for role in READERS}
        for role, reader in readers.items():
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n", f"{role}: {reader.communicate()[1]}"
        yield looks
        for role, reader in readers.items():
            told, complaint = reader.communicate(timeout=STOP_SECONDS)
            assert reader.returncode == 0, f"{role} saw what it must not see:\n{complaint}"
            looks[role] = int(told)


@contextlib.contextmanager
def _started(role: str, place: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.helpers.readers", role, place, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as reader:
        try:
            yield reader
        finally:
            reader.kill()


def _look(role: str, place: str, folder: Path) -> int:
    """Looks until standard input ends, and returns how often."""
    count = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        READERS[role](place, folder)
        count += 1
        if count == 1:
            print("ready", flush=True)
    return count


@contextlib.contextmanager
def _there(folder: Path) -> Iterator[None]:
    """Tells a folder that goes as a whole, and perhaps comes again, from one that lacks a file.

    Raises:
        WithdrawnError: the folder is another one by now, or there is none.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)  # while it is open, no other folder has its number
    except FileNotFoundError:
        raise WithdrawnError from None
    try:
        yield
    except FileNotFoundError:
        if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise
        raise WithdrawnError from None
    finally:
        os.close(descriptor)


@functools.cache
def _digests(place: str, number: int) -> dict[str, str]:
    files = registry.read_manifest(place, MODEL, number)["files"]
    return {name: check["sha256"] for name, check in files.items()}


if __name__ == "__main__":
    print(_look(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
