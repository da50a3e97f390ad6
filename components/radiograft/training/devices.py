"""Devices, precision and reproducibility of training."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence

import keras
import tensorflow as tf

from radiograft.utils.gpus import require_promised_gpus

log = logging.getLogger(__name__)

BFLOAT16_CAPABILITY = (8, 0)  # Ampere; older tensor cores support float16 only
TENSOR_CORE_CAPABILITY = (7, 0)  # Volta


def distribution_strategy(devices: Sequence[str] | None = None) -> tf.distribute.Strategy:
    """Returns a strategy that mirrors a model over the given devices or all visible GPUs, else uses the CPU.

    Raises:
        RuntimeError: TensorFlow sees fewer GPUs than the container requested.
    """
    gpus = tf.config.list_physical_devices("GPU")
    require_promised_gpus(len(gpus))
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    names = devices or [f"/gpu:{number}" for number in range(len(gpus))]
    log.info("computing on %s", ", ".join(names) if names else "the CPU")
    return tf.distribute.MirroredStrategy(names) if names else tf.distribute.get_strategy()


def choose_precision(setting: str) -> str:
    """Returns the Keras dtype policy for the setting `train_precision`.

    `auto` is the fastest policy that all visible GPUs accelerate, and float32 on the CPU.
    """
    if setting != "auto":
        return setting
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    weakest = min((detail.get("compute_capability", (0, 0)) for detail in details), default=(0, 0))
    if weakest >= BFLOAT16_CAPABILITY:
        return "mixed_bfloat16"
    return "mixed_float16" if weakest >= TENSOR_CORE_CAPABILITY else "float32"


def make_reproducible(seed: int) -> None:
    """Seeds Python, NumPy and TensorFlow and enables deterministic kernels. Call it before anything is computed."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def share_cores_by_image() -> None:
    """Limits each TensorFlow operation of this process to one core, for processes that handle many images in parallel.

    Dividing small operations among cores costs 10 % of the time. Training in the same process would round differently.
    The call has no effect if TensorFlow has already been used.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
