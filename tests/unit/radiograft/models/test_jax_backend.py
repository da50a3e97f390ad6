"""The model code gives the same results on Keras's JAX backend, in a process without TensorFlow."""

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
    """Saves random weights for both backends and returns the results of TensorFlow."""
    keras.utils.set_random_seed(0)
    for name in NAMES:
        either_backend.build(name)[1].save_weights(folder / f"{name}.weights.h5")
    either_backend.write(folder)
    return read(folder)


def on_jax(folder: Path) -> Results:
    """Returns the results of JAX, in a process in which TensorFlow cannot be imported."""
    (folder / "tensorflow.py").write_text("raise ModuleNotFoundError('not installed')\n")
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compilation would take longer than the computation
        "PYTHONPATH": str(folder),
    }
    command = [sys.executable, "-m", "tests.helpers.either_backend", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    return read(folder)


def read(folder: Path) -> Results:
    results = {}
    for name in NAMES:
        with np.load(folder / f"{name}.npz") as arrays:
            results[name] = dict(arrays)
    return results


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed; install the extra `dev`")
    folder = tmp_path_factory.mktemp("either_backend")
    return {"tensorflow": on_tensorflow(folder), "jax": on_jax(folder)}


@pytest.mark.parametrize("name", NAMES)
def test_split_model_on_jax_preserves_outputs_before_and_after_training(results: dict[str, Results], name: str) -> None:
    values = results["jax"][name]
    assert values["backend"] == "jax"
    np.testing.assert_allclose(values["halves"], values["whole"], atol=1e-6)
    np.testing.assert_allclose(values["halves_after"], values["whole_after"], atol=1e-6)
    assert np.abs(values["whole_after"] - values["whole"]).max() > 1e-2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", ["taps", "whole", "losses", "whole_after"])
def test_models_on_jax_match_tensorflow(results: dict[str, Results], name: str, value: str) -> None:
    actual, reference = results["jax"][name], results["tensorflow"][name]
    assert reference["backend"] == "tensorflow"
    assert reference[value].std() > 1e-3
    np.testing.assert_allclose(actual[value], reference[value], atol=1e-4)


def test_unfreeze_from_on_jax_trains_same_weights(results: dict[str, Results]) -> None:
    classifiers = {"densenet121": 1024 * 8 + 8 + 8 * 2 + 2, "efficientnet_lite0": 1280 * 8 + 8 + 8 * 2 + 2}
    backbones = {"densenet121": 3 * 3 * 128 * 32, "efficientnet_lite0": 1152 * 320 + 320 * 1280}
    expected = {name: classifiers[name] + backbones[name] for name in NAMES}
    for backend in ("jax", "tensorflow"):
        assert {name: int(results[backend][name]["trained"]) for name in NAMES} == expected
