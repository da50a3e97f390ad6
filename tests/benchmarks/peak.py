"""Peak memory of the current process."""

from __future__ import annotations

import re
from pathlib import Path


def megabytes() -> float:
    """Returns the peak resident set size of this process in MB.

    It reads /proc because the `ru_maxrss` of `getrusage` starts at the parent's value in a child process.

    Raises:
        RuntimeError: if the system is not Linux.
    """
    match = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if not match:
        raise RuntimeError("peak memory can only be measured on Linux: /proc/self/status must contain VmHWM")
    return int(match[1]) / 1000
