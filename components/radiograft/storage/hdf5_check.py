"""Checks that an HDF5 file can be read, in a subprocess with a timeout.

A few corrupt bytes can make the HDF5 library loop forever or crash.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py

TIMEOUT_SECONDS = 120.0  # a weight file takes about one second
MAX_EXPANSION = 10  # of a compressed dataset; weights shrink by a tenth at most


def check_hdf5(path: Path, timeout: float = TIMEOUT_SECONDS) -> None:
    """Raises an error if an HDF5 file is corrupt. Files of other formats pass.

    Args:
        path: the file.
        timeout: in seconds.

    Raises:
        ValueError: the file cannot be read completely within the timeout.
    """
    command = [sys.executable, "-m", __name__, str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=timeout)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{path.name} must be a readable HDF5 file, but it is corrupt") from error


def _read(_: str, item: h5py.Group | h5py.Dataset) -> None:
    list(item.attrs.items())
    if isinstance(item, h5py.Dataset):
        check_dataset(item)
        item[()]


def check_dataset(item: h5py.Dataset) -> None:
    """Raises an error if a dataset has its numbers in another file, or more of them than its own file has bytes.

    Raises:
        ValueError: Keras writes no such dataset.
    """
    if item.external or item.is_virtual or item.nbytes > MAX_EXPANSION * item.file.id.get_filesize():
        raise ValueError(f"{item.name!r:.80} must be stored in the file, without compression")


if __name__ == "__main__" and h5py.is_hdf5(sys.argv[1]):
    with h5py.File(sys.argv[1]) as file:
        _read("", file)
        file.visititems(_read)
