"""Compares the GPUs that a container requested with those that it sees."""

from __future__ import annotations

import os
import re
from pathlib import Path

PROMISED_GPUS_VARIABLE = "RADIOGRAFT_PROMISED_GPUS"


def list_gpu_devices(devices: Path) -> list[Path]:
    """Lists the device files of the NVIDIA GPUs that this container may use, without loading TensorFlow."""
    return sorted(path for path in devices.glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))


def require_promised_gpus(visible: int) -> None:
    """Raises if fewer GPUs are visible than this container requested; does nothing if it requested none.

    Raises:
        RuntimeError: `visible` is less than the requested number.
    """
    promised = int(os.environ.get(PROMISED_GPUS_VARIABLE, "0"))
    if visible < promised:
        raise RuntimeError(
            f"this task requested {promised} GPUs but sees {visible}; KFP silently drops an accelerator limit without "
            "a type, and a node without the NVIDIA device plugin offers no GPUs: check the pod's resources, or unset "
            f"{PROMISED_GPUS_VARIABLE} to run without GPUs"
        )
