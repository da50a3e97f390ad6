"""Files of a few bytes that would fill any memory: refused, in the memory that their parsers are allowed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.fuzz.bombs import BOMBS
from tests.repository import ROOT


def test_every_bomb_is_refused_in_bounded_memory_and_time(tmp_path: Path) -> None:
    """Fails without MOST_COLUMNS or MOST_CELLS, with LARGEST = 2**40 in table_file.py, without LARGEST_HEADER (npz.py,
    archives.py) or LARGEST_WHOLE, without `members = []` in archives.py, without HEAVIEST_TUPLE or the bound of memo
    indices in pickle_cost.py, with SafeLoader in place of yaml_files.py's, and without MOST_SCANS in decode.py."""
    for name, (_, _, make) in BOMBS.items():
        (tmp_path / f"{name}.bomb").write_bytes(make())
    (tmp_path / "in").mkdir()
    command = [sys.executable, "-m", "tests.fuzz.bombs", str(tmp_path / "in")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    outcomes = {line["bomb"]: line["outcome"] for line in map(json.loads, done.stdout.splitlines())}
    assert outcomes == dict.fromkeys(BOMBS, "refused"), done.stderr[-2000:]
