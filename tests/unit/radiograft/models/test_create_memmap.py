"""`create_memmap` raises if the disk has too little space, before any data are written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from radiograft.models import predictor
from tests.chaos.full_disk import small_disk
from tests.repository import ROOT

FILL = """
import sys, numpy as np
from pathlib import Path
from radiograft.models import predictor
create = {
    "create": predictor.create_memmap,
    "plain": lambda path, shape: np.lib.format.open_memmap(path, mode="w+", dtype="float16", shape=shape),
}[sys.argv[1]]
create(Path(sys.argv[2]), (2_000_000,))[:] = 1
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    if os.geteuid():
        pytest.skip("only root can mount a small disk")
    try:
        with small_disk(tmp_path / "disk", megabytes=1):
            yield tmp_path / "disk"
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not let root mount a small disk")


def fill(function: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Fills a file of four megabytes in a child process."""
    return subprocess.run([sys.executable, "-c", FILL, function, str(path)], cwd=ROOT, capture_output=True, text=True)


def test_create_memmap_writes_npy_file(tmp_path: Path) -> None:
    array = predictor.create_memmap(tmp_path / "file.npy", (2, 3))
    array[1] = 5
    array.flush()
    np.testing.assert_array_equal(np.load(tmp_path / "file.npy"), np.float16([[0, 0, 0], [5, 5, 5]]))


def test_create_memmap_full_disk_raises(disk: Path) -> None:
    process = fill("create", disk / "file.npy")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1] == (
        f"OSError: [Errno 28] No space left on device (4,000,128 bytes are needed): '{disk / 'file.npy'}'"
    )


def test_plain_memmap_full_disk_kills_process(disk: Path) -> None:
    """Control: without allocation up front, the kernel kills the process."""
    assert fill("plain", disk / "file.npy").returncode == -signal.SIGBUS
