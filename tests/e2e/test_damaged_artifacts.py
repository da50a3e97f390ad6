"""A byte that was flipped in any file that a run left is noticed by whoever reads it next, who names the file.

With `checksums.verify` returning at once, or without the comparison in `registry._read_checked`, these tests fail.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radiograft.registry import versions as registry
from radiograft.storage import checksums
from tests.e2e.runs import MODEL, TwoRuns


def flipped(path: Path, drawn: random.Random) -> Iterator[None]:
    """Flips a random bit of a file and puts it back."""
    content = path.read_bytes()
    place, bit = drawn.randrange(len(content)), 1 << drawn.randrange(8)
    path.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
    yield
    path.write_bytes(content)


def check_every_file(folder: Path, verify: Callable[[], object]) -> int:
    """Flips a bit of each file below a folder in turn; returns how many files there are."""
    drawn, count = random.Random(0), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        for _ in flipped(path, drawn):
            name = ".*" if path.name == checksums.NAME else re.escape(str(path))
            with pytest.raises((ValueError, FileNotFoundError), match=name):
                verify()
        count += 1
    verify()
    return count


def test_in_an_artifact(two_runs: TwoRuns, tmp_path: Path) -> None:
    places = [path.parent for path in two_runs.first.artifacts.rglob(checksums.NAME)]
    assert {"catalog", "shards", "features", "feature_model", "model", "evaluation"} <= {path.name for path in places}
    files = 0
    for number, place in enumerate(places):
        copy = Path(shutil.copytree(place, tmp_path / str(number)))
        files += check_every_file(copy, lambda copy=copy: checksums.verify_checksums(copy))
    assert files > 50


def test_in_a_version(two_runs: TwoRuns, tmp_path: Path) -> None:
    for name, content in two_runs.between.items():
        path = tmp_path / MODEL / "1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert check_every_file(tmp_path, lambda: registry.verify_version(str(tmp_path), MODEL, 1)) > 20
