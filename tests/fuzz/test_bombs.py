"""Small files that would exhaust the memory are rejected within the memory limit of their parser."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.fuzz.bombs import BOMBS
from tests.repository import ROOT


def test_every_bomb_is_rejected_in_bounded_memory_and_time(tmp_path: Path) -> None:
    """Fails without one of the limits.

    Among them are MAX_COLUMNS, MAX_CELLS and MAX_BYTES of table_files.py, MAX_HEADER_BYTES and MAX_WHOLE_BYTES of
    npz_archive.py, MAX_HEADER_BYTES and `members = []` of archive_entries.py, MAX_TUPLE_ITEMS and the limit of memo
    indices of pickle_cost.py, the YAML loader of settings, and MAX_SCANS of decode.py.
    """
    for name, (_, _, make) in BOMBS.items():
        (tmp_path / f"{name}.bomb").write_bytes(make())
    (tmp_path / "in").mkdir()
    command = [sys.executable, "-m", "tests.fuzz.bombs", str(tmp_path / "in")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    outcomes = {line["bomb"]: line["outcome"] for line in map(json.loads, result.stdout.splitlines())}
    assert outcomes == dict.fromkeys(BOMBS, "refused"), result.stderr[-2000:]
