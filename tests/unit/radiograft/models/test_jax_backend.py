"""The model code on Keras's JAX backend, in a process without TensorFlow, gives what it gives on TensorFlow's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.helpers import either_backend
from tests.repository import ROOT

NAMES = list(either_backend.CUT_OFFS)
Results = dict[str, dict[str, np.ndarray]]


def on_tensorflow(folder: Path) -> Results:
    """Random weights, which both backends read, and what TensorFlow makes of them."""
    keras.utils.set_random_seed(0)
    for name in NAMES:
        either_backend.build(name)[1].save_weights(folder / f"{name}.weights.h5")
    either_backend.write(folder)
    return read(folder)


def on_jax(folder: Path) -> Results:
    """What JAX makes of them where TensorFlow cannot be imported."""
    (folder / "tensorflow.py").write_text("raise ModuleNotFoundError('as if it were not installed')\n")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes longer than computing here
        "PYTHONPATH": str(folder),
    }
    command = [sys.executable, "-m", "tests.helpers.either_backend", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return read(folder)


def read(folder: Path) -> Results:
    found = {}
    for name in NAMES:
        with np.load(folder / f"{name}.npz") as arrays:
            found[name] = dict(arrays)
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed; the extra `dev` brings it")
    folder = tmp_path_factory.mktemp("either_backend")
    return {"tensorflow": on_tensorflow(folder), "jax": on_jax(folder)}


@pytest.mark.parametrize("name", NAMES)
def test_prefix_and_suffix_are_the_network_before_and_after_training(results: dict[str, Results], name: str) -> None:
    found = results["jax"][name]
    assert found["backend"] == "jax"
    np.testing.assert_allclose(found["halves"], found["whole"], atol=1e-6)
    np.testing.assert_allclose(found["halves_after"], found["whole_after"], atol=1e-6)
    assert np.abs(found["whole_after"] - found["whole"]).max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["taps", "whole", "losses", "whole_after"])
def test_both_backends_give_the_same(results: dict[str, Results], name: str, value: str) -> None:
    ours, reference = results["jax"][name], results["tensorflow"][name]
    assert reference["backend"] == "tensorflow"
    assert reference[value].std() > 1e-3
    np.testing.assert_allclose(ours[value], reference[value], atol=1e-4)


def test_both_backends_unfreeze_the_same_weights(results: dict[str, Results]) -> None:
    classifiers = {"densenet121": 1024 * 8 + 8 + 8 * 2 + 2, "efficientnet_lite0": 1280 * 8 + 8 + 8 * 2 + 2}
    backbones = {"densenet121": 3 * 3 * 128 * 32, "efficientnet_lite0": 1152 * 320 + 320 * 1280}
    expected = {name: classifiers[name] + backbones[name] for name in NAMES}
    for backend in ("jax", "tensorflow"):
        assert {name: int(results[backend][name]["trained"]) for name in NAMES} == expected
