"""Which devices compute, in which arithmetic, and the seeds that make two runs equal."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import keras
import tensorflow as tf

from radiograft.utils.gpus import require_promised_gpus

log = logging.getLogger(__name__)


BFLOAT16_CAPABILITY = (8, 0)  # Ampere; below it tensor cores know float16 only
TENSOR_CORE_CAPABILITY = (7, 0)


def distribution_strategy(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Mirrors the model over the devices named, or over all visible GPUs; without any, computes on the CPU.

    Raises:
        RuntimeError: TensorFlow sees fewer GPUs than this container was promised.
    """
    gpus = tf.config.list_physical_devices("GPU")
    require_promised_gpus(len(gpus))
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    names = devices or [f"/gpu:{number}" for number in range(len(gpus))]
    log.info("computing on %s", ", ".join(names) if names else "the CPU")
    return tf.distribute.MirroredStrategy(names) if names else tf.distribute.get_strategy()


def choose_precision(wanted: str) -> str:
    """The Keras dtype policy for `wanted`: `auto` takes what every visible GPU computes fast, float32 on the CPU."""
    if wanted != "auto":
        return wanted
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    weakest = min((detail.get("compute_capability", (0, 0)) for detail in details), default=(0, 0))
    if weakest >= BFLOAT16_CAPABILITY:
        return "mixed_bfloat16"
    return "mixed_float16" if weakest >= TENSOR_CORE_CAPABILITY else "float32"


def make_reproducible(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow and asks for deterministic kernels, before anything is computed."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def share_cores_by_image() -> None:
    """Keeps each operation of this process to one core, for work on many images at once: to divide small operations
    costs a tenth. Training rounds otherwise then, so that it must have a process of its own.

    Without effect in a process that has computed already.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
