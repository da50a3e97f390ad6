"""The wrapper of every stage: configures logging, and checks GPUs, inputs and outputs."""

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
    """Context manager around the work of a stage.

    It verifies the checksums of the inputs, checks that all outputs exist, because KFP considers a task that wrote
    nothing successful, and writes checksums of the outputs.

    Args:
        name: of the stage, for messages.
        outputs: files and folders that the stage must write.
        reads: folders that other stages wrote.
        devices: folder of the device files.

    Raises:
        RuntimeError: fewer GPUs are visible than the task requested, or an output is missing or empty.
        ValueError: an input file is corrupt.
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
