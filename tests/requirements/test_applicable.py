"""Selection of the requirements in a lock file that apply to this platform."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "requirements" / "applicable.py"
LOCK = """\
# generated
one==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
two==2.0 ; python_full_version < '3.0' \\
    --hash=sha256:cc
two==2.1 ; python_full_version >= '3.0' \\
    --hash=sha256:dd
three==3.0 ; sys_platform == 'nowhere'
"""


def test_applicable_evaluates_markers_and_keeps_hashes() -> None:
    done = subprocess.run([sys.executable, SCRIPT], input=LOCK, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "one==1.0 --hash=sha256:aa --hash=sha256:bb",
        "two==2.1 ; python_full_version >= '3.0' --hash=sha256:dd",
    ]
