"""Devices: which arithmetic a GPU gets, and that promised GPUs are insisted on."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.training import devices
from radiograft.utils.gpus import PROMISED_GPUS_VARIABLE


@pytest.mark.parametrize("wanted", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_precision_asked_for_is_taken(wanted: str) -> None:
    assert devices.choose_precision(wanted) == wanted


def test_a_cpu_computes_in_float32() -> None:
    assert tf.config.list_physical_devices("GPU") == []
    assert devices.choose_precision("auto") == "float32"


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ([(9, 0)], "mixed_bfloat16"),  # H100
        ([(8, 0), (8, 6)], "mixed_bfloat16"),  # A100, A10
        ([(7, 5)], "mixed_float16"),  # T4
        ([(7, 0)], "mixed_float16"),  # V100
        ([(6, 1)], "float32"),  # P4
        ([(8, 0), (7, 5)], "mixed_float16"),
        ([(9, 0), (6, 0)], "float32"),
        ([None], "float32"),
    ],
)
def test_auto_takes_what_the_weakest_gpu_computes_fast(
    capabilities: list[tuple[int, int] | None], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    details = [{} if capability is None else {"compute_capability": capability} for capability in capabilities]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: range(len(details)))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu])
    assert devices.choose_precision("auto") == expected


def test_without_gpus_the_cpu_computes() -> None:
    assert devices.distribution_strategy().num_replicas_in_sync == 1
    assert not isinstance(devices.distribution_strategy(), tf.distribute.MirroredStrategy)


def test_promised_gpus_that_are_missing_stop_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROMISED_GPUS_VARIABLE, "2")
    with pytest.raises(RuntimeError, match=r"requested 2 GPUs but sees 0; .*unset RADIOGRAFT_PROMISED_GPUS"):
        devices.distribution_strategy()
    monkeypatch.setenv(PROMISED_GPUS_VARIABLE, "0")
    assert devices.distribution_strategy().num_replicas_in_sync == 1


def numbers() -> tuple[float, float, float, float]:
    return (
        random.random(),
        float(np.random.random()),  # noqa: NPY002
        float(tf.random.uniform([])),
        float(keras.random.uniform([])),
    )


def test_a_seed_makes_every_random_number_the_same_again() -> None:
    drawn = []
    for seed in (7, 7, 8):
        devices.make_reproducible(seed)
        drawn.append(numbers())
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[0], drawn[2], strict=True))
