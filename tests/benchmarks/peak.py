"""Peak memory of the process that asks."""

from __future__ import annotations

import re
from pathlib import Path


def megabytes() -> float:
    """Largest resident set of this process so far. getrusage will not do: a child's ru_maxrss begins at its parent's.

    Raises:
        RuntimeError: this is no Linux.
    """
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError("/proc/self/status must hold VmHWM, as on Linux; here peak memory cannot be measured")
    return int(found[1]) / 1000
