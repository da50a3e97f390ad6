"""Whether an HDF5 file can be read at all, found out in a process that can be ended: a few damaged bytes may keep
HDF5's library in a loop for ever, or crash it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import h5py

TIMEOUT_SECONDS = 120.0  # seconds; files of weights take about one


def check_hdf5(path: Path, longest: float = TIMEOUT_SECONDS) -> None:
    """Passes over what is no HDF5 file.

    Raises:
        ValueError: it cannot be read to its end, or not within `longest` seconds.
    """
    command = [sys.executable, "-m", __name__, str(path)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=longest)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{path.name} must be a file that HDF5 reads to its end, and is damaged") from error


def _read(_: str, item: h5py.Group | h5py.Dataset) -> None:
    list(item.attrs.items())
    if isinstance(item, h5py.Dataset):
        item[()]


if __name__ == "__main__" and h5py.is_hdf5(sys.argv[1]):
    with h5py.File(sys.argv[1]) as whole:
        _read("", whole)
        whole.visititems(_read)
