"""Processes that must not outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import signal

PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def end_with_parent() -> None:
    """Has this process killed as soon as the one that started it has ended, however it ended; on Linux only.

    Without it, `radiograft run` that is killed leaves a task behind which writes into the run that is resumed.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
