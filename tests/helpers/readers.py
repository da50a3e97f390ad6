"""Readers of model `chest` in separate processes, which poll the registry until their standard input is closed.

`python -m tests.helpers.readers ROLE REGISTRY FOLDER` prints `ready` after its first read and finally the number of
reads. An inconsistent state ends it with a traceback. `sync_models` keeps the production version in FOLDER.
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
    """A version was withdrawn from production while it was read."""


def follow(place: str, folder: Path) -> None:
    """Synchronizes the folder, like the process beside TensorFlow Serving."""
    assert sync_models(place, MODEL, folder) is not None


def serve(place: str, folder: Path) -> None:
    """Asserts that TensorFlow Serving, started now, would load a complete version: that with the highest number."""
    version = max((folder / MODEL).iterdir(), key=lambda path: int(path.name))
    expected = _digests(place, int(version.name))
    with contextlib.suppress(WithdrawnError), _detect_withdrawal(version):
        actual = {name: hashlib.sha256((version / name).read_bytes()).hexdigest() for name in expected}
        assert actual == expected


def list_versions(place: str, folder: Path) -> None:
    """Asserts that `models list` shows every number up to the highest, and one of them in production."""
    from radiograft_pipelines.cli import models

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        # Without the wrapper, which would start another embedded store.
        models.list_versions.callback.__wrapped__(models.RegistryRef(place, MODEL))
    rows = [words for line in printed.getvalue().splitlines() if (words := line.split()) and words[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1)), printed.getvalue()
    assert [row[1] for row in rows].count("production") == 1, printed.getvalue()


def verify(place: str, folder: Path) -> None:
    """Verifies the production version as `models verify` does, and asserts that all files belong to one run."""
    current = production.read_production(place, MODEL)
    assert current is not None
    registry.verify_version(place, MODEL, current.version)
    names = [f"{registry.EXTRA_ASSETS}/{name}" for name in ("model.keras", "lineage.json")]
    (_, model), (_, lineage) = registry.read_file(place, MODEL, current.version, names)
    assert json.loads(lineage)["run_id"] == model.decode()


READERS: dict[str, Callable[[str, Path], None]] = {
    "follow": follow, "serve": serve, "list": list_versions, "verify": verify
}  # fmt: skip


@contextlib.contextmanager
def looking(place: str, folder: Path) -> Iterator[dict[str, int]]:
    """Runs all readers during the context. Afterwards the yielded dictionary contains the number of reads by role.

    A version must be in production, and `folder` must be empty.

    Raises:
        AssertionError: a reader saw an inconsistent state.
    """
    follow(place, folder)
    reads: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        readers = {role: stack.enter_context(_start(role, place, folder)) for role in READERS}
        for role, reader in readers.items():
            assert reader.stdout is not None
            assert reader.stdout.readline() == "ready\n", f"{role}: {reader.communicate()[1]}"
        yield reads
        for role, reader in readers.items():
            count, error = reader.communicate(timeout=STOP_SECONDS)
            assert reader.returncode == 0, f"{role} saw an inconsistent state:\n{error}"
            reads[role] = int(count)


@contextlib.contextmanager
def _start(role: str, place: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.helpers.readers", role, place, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=os.environ, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as reader:
        try:
            yield reader
        finally:
            reader.kill()


def _read_until_closed(role: str, place: str, folder: Path) -> int:
    """Reads until standard input is closed; returns the number of reads."""
    count = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        READERS[role](place, folder)
        count += 1
        if count == 1:
            print("ready", flush=True)
    return count


@contextlib.contextmanager
def _detect_withdrawal(folder: Path) -> Iterator[None]:
    """Distinguishes a folder that was withdrawn, and possibly replaced, from one with a missing file.

    Raises:
        WithdrawnError: the folder was deleted or replaced.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)  # while it is open, its inode number is not reused
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
    print(_read_until_closed(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
