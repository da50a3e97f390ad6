"""A flipped bit in any file of a run is detected, and the error names the file."""

from __future__ import annotations

import contextlib
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from radiograft.registry import versions as registry
from radiograft.storage import checksums
from tests.e2e.runs import MODEL, TwoRuns


@contextlib.contextmanager
def flip_bit(path: Path, generator: random.Random) -> Iterator[None]:
    """Flips a random bit of a file, and restores the file afterwards."""
    content = path.read_bytes()
    position, bit = generator.randrange(len(content)), 1 << generator.randrange(8)
    path.write_bytes(content[:position] + bytes([content[position] ^ bit]) + content[position + 1 :])
    yield
    path.write_bytes(content)


def check_every_file(folder: Path, verify: Callable[[], object]) -> int:
    """Flips one bit of each file below a folder in turn; returns the number of files."""
    generator, count = random.Random(0), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size):
        name = ".*" if path.name == checksums.NAME else re.escape(str(path))
        with flip_bit(path, generator), pytest.raises((ValueError, FileNotFoundError), match=name):
            verify()
        count += 1
    verify()
    return count


def test_verify_checksums_flipped_bit_raises(two_runs: TwoRuns, tmp_path: Path) -> None:
    folders = [path.parent for path in two_runs.first.artifacts.rglob(checksums.NAME)]
    assert {"catalog", "shards", "features", "feature_model", "model", "evaluation"} <= {path.name for path in folders}
    files = 0
    for number, folder in enumerate(folders):
        copy = Path(shutil.copytree(folder, tmp_path / str(number)))
        files += check_every_file(copy, lambda copy=copy: checksums.verify_checksums(copy))
    assert files > 50


def test_verify_version_flipped_bit_raises(two_runs: TwoRuns, tmp_path: Path) -> None:
    for name, content in two_runs.between.items():
        path = tmp_path / MODEL / "1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert check_every_file(tmp_path, lambda: registry.verify_version(str(tmp_path), MODEL, 1)) > 20
