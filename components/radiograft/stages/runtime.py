"""What every stage does first and last: log readably, insist on the promised GPUs, check that its inputs are whole and
its outputs were written."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from radiograft.storage import EMBEDDED_ENDPOINT_VARIABLE, checksums
from radiograft.utils.text import printable

# DEBUG is progress, which a terminal shows in passing; INFO and above are results, which stay.
LOG_FORMAT = "radiograft %(levelname)s | %(message)s"
PR_SET_PDEATHSIG = 1  # from linux/prctl.h
PROMISED_GPUS_VARIABLE = "RADIOGRAFT_PROMISED_GPUS"
log = logging.getLogger("radiograft")


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


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
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Printable(LOG_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    log.setLevel(logging.DEBUG)
    if EMBEDDED_ENDPOINT_VARIABLE in os.environ:
        end_with_parent()
    require_promised_gpus(len(gpu_nodes(devices)))
    start = time.monotonic()
    for folder in reads:
        checksums.verify(Path(folder))
    yield
    for output in outputs:
        path = Path(output)
        if not path.exists() or not (any(path.iterdir()) if path.is_dir() else path.stat().st_size):
            raise RuntimeError(f"{name} must write {path.name}, but nothing is at {path}")
        if path.is_dir():
            checksums.write(path)
    log.debug("%s took %.1f s", name, time.monotonic() - start)


def end_with_parent() -> None:
    """Has this process killed as soon as the one that started it has ended, however it ended; on Linux only.

    Without it, `radiograft run` that is killed leaves a task behind which writes into the run that is resumed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def gpu_nodes(devices: Path) -> list[Path]:
    """Device files of the NVIDIA GPUs that this container may use, found without loading TensorFlow."""
    return sorted(path for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))


def require_promised_gpus(visible: int) -> None:
    """Stops a container that was promised GPUs and sees fewer; elsewhere the variable is unset and nothing happens.

    Raises:
        RuntimeError: `visible` is below the promise.
    """
    promised = int(os.environ.get(PROMISED_GPUS_VARIABLE, "0"))
    if visible < promised:
        raise RuntimeError(
            f"this task was promised {promised} GPUs and sees {visible}; KFP drops an accelerator limit without a "
            "type silently, and a node without the NVIDIA device plugin offers none: check the pod's "
            f"resources, or unset {PROMISED_GPUS_VARIABLE} to run without"
        )
