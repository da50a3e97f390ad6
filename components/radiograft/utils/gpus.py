"""The GPUs that a container was promised and those that it sees."""

from __future__ import annotations

import os
import re
from pathlib import Path

PROMISED_GPUS_VARIABLE = "RADIOGRAFT_PROMISED_GPUS"


def list_gpu_devices(devices: Path) -> list[Path]:
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
