"""Numbers of half precision that lie on disk and are used as if they were in memory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


def create_memmap(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """A new memory-mapped float16 .npy file, writable, zero everywhere.

    Its space is taken at once. A file that is filled page by page has none until then, and where the disk is full by
    that time, the kernel kills the process (SIGBUS) without a word.

    Raises:
        OSError: it does not fit on the disk.
    """
    file = np.lib.format.open_memmap(path, mode="w+", dtype="float16", shape=shape)
    size = path.stat().st_size
    if sys.platform == "linux":
        with path.open("r+b") as opened:
            try:
                os.posix_fallocate(opened.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror} ({size:,} bytes are needed)", str(path)) from None
    return file
