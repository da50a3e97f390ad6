"""Description of the machine that runs the benchmarks."""

from __future__ import annotations

import datetime
import importlib
import os
import platform
import re
from pathlib import Path

import keras


def describe() -> dict[str, str | int | float]:
    """Returns cores, processor, memory (GB), versions, load average over one minute, and the time in UTC."""
    backend = keras.backend.backend()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "python": platform.python_version(),
        backend: importlib.import_module(backend).__version__,
        "keras": keras.__version__,
        "load_average": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1] if match else platform.processor()
