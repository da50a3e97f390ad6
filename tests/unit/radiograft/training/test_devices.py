"""Precision by GPU, missing GPUs and seeds."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from radiograft.training import devices
from radiograft.utils.gpus import PROMISED_GPUS_VARIABLE


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_choose_precision_explicit_policy_is_returned(policy: str) -> None:
    assert devices.choose_precision(policy) == policy


def test_choose_precision_auto_on_cpu_is_float32() -> None:
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
def test_choose_precision_auto_follows_weakest_gpu(
    capabilities: list[tuple[int, int] | None], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    details = [{} if capability is None else {"compute_capability": capability} for capability in capabilities]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: range(len(details)))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details[gpu])
    assert devices.choose_precision("auto") == expected


def test_distribution_strategy_without_gpus_uses_cpu() -> None:
    assert devices.distribution_strategy().num_replicas_in_sync == 1
    assert not isinstance(devices.distribution_strategy(), tf.distribute.MirroredStrategy)


def test_distribution_strategy_with_missing_gpus_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROMISED_GPUS_VARIABLE, "2")
    with pytest.raises(RuntimeError, match=r"requested 2 GPUs but sees 0; .*unset RADIOGRAFT_PROMISED_GPUS"):
        devices.distribution_strategy()
    monkeypatch.setenv(PROMISED_GPUS_VARIABLE, "0")
    assert devices.distribution_strategy().num_replicas_in_sync == 1


def draw_numbers() -> tuple[float, float, float, float]:
    return (
        random.random(),
        float(np.random.random()),  # noqa: NPY002
        float(tf.random.uniform([])),
        float(keras.random.uniform([])),
    )


def test_make_reproducible_same_seed_gives_same_numbers() -> None:
    drawn = []
    for seed in (7, 7, 8):
        devices.make_reproducible(seed)
        drawn.append(draw_numbers())
    assert drawn[0] == drawn[1]
    assert all(one != other for one, other in zip(drawn[0], drawn[2], strict=True))
