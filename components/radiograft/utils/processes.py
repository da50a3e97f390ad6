"""Child processes that must not outlive their parent."""

from __future__ import annotations

import contextlib
import ctypes
import signal

PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def end_with_parent() -> None:
    """Asks the kernel to kill this process when its parent ends for any reason; does nothing outside Linux.

    Otherwise, if `radiograft run` were killed, a task would continue and write into the resumed run.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
