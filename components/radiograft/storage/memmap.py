"""Float16 arrays in memory-mapped files."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np


def create_memmap(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[Any]]:
    """Creates a writable memory-mapped float16 .npy file filled with zeros.

    Disk space is allocated up front. Otherwise pages would be allocated on first write, and if the disk is full then,
    the kernel kills the process (SIGBUS) without a message.

    Raises:
        OSError: the disk has too little space.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype="float16", shape=shape)
    size = path.stat().st_size
    if sys.platform == "linux":
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror} ({size:,} bytes are needed)", str(path)) from None
    return array
