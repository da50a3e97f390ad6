"""What every stage does first and last: log readably, insist on the promised GPUs, check that its inputs are whole and
its outputs were written."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from radiograft.storage import EMBEDDED_ENDPOINT_VARIABLE, checksums
from radiograft.utils.gpus import list_gpu_devices, require_promised_gpus
from radiograft.utils.logging import configure_logging
from radiograft.utils.processes import end_with_parent

log = logging.getLogger("radiograft")


@contextlib.contextmanager
def stage(name: str, *outputs: str, reads: Iterable[str] = (), devices: Path = Path("/dev")) -> Iterator[None]:
    """Wraps a stage's work.

    KFP counts a task that wrote nothing as a success, so the outputs (files or folders) are checked here.

    Args:
        reads: folders that other stages wrote.

    Raises:
        RuntimeError: fewer GPUs than promised are visible, or an output is missing or empty.
        ValueError: a file of what it reads was damaged on the way.
    """
    configure_logging()
    if EMBEDDED_ENDPOINT_VARIABLE in os.environ:
        end_with_parent()
    require_promised_gpus(len(list_gpu_devices(devices)))
    start = time.monotonic()
    for folder in reads:
        checksums.verify_checksums(Path(folder))
    yield
    for output in outputs:
        path = Path(output)
        if not path.exists() or not (any(path.iterdir()) if path.is_dir() else path.stat().st_size):
            raise RuntimeError(f"{name} must write {path.name}, but nothing is at {path}")
        if path.is_dir():
            checksums.write_checksums(path)
    log.debug("%s took %.1f s", name, time.monotonic() - start)
