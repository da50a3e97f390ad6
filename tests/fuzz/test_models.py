"""Model files with anything but built-in layers are rejected before any of their code runs."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest

from radiograft.models import artifact

Tamper = Callable[[dict[str, Any], Path], None]


def small_model(*layers: keras.Layer) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    outputs = inputs
    for layer in (*layers, keras.layers.Flatten(), keras.layers.Dense(1)):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def with_config(folder: Path, tamper: Tamper, trace: Path) -> None:
    """Saves a small network with a tampered configuration."""
    path = folder / "model.keras"
    small_model().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    tamper(config, trace)
    members["config.json"] = json.dumps(config).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    path.write_bytes(content.getvalue())


def call_function(config: dict[str, Any], trace: Path) -> None:
    """Replaces the model by a call of a standard library function with arguments from the file."""
    config |= {"module": "os", "class_name": "system", "config": {"command": f"touch {trace}"}}


def call_function_in_layer(config: dict[str, Any], trace: Path) -> None:
    dense = config["config"]["layers"][-1]
    dense["config"]["kernel_initializer"] = {
        "module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function",
    }  # fmt: skip


def use_foreign_class(config: dict[str, Any], trace: Path) -> None:
    arguments = {"args": ["touch", str(trace)]}
    config["config"]["layers"][-1] |= {"module": "subprocess", "class_name": "Popen", "config": arguments}


def read_local_file(config: dict[str, Any], trace: Path) -> None:
    trace.write_text("secret words\n")
    layer = config["config"]["layers"][1]
    layer |= {"class_name": "StringLookup", "config": {"name": "words", "vocabulary": str(trace)}}


@pytest.mark.parametrize("tamper", [call_function, call_function_in_layer, use_foreign_class, read_local_file])
def test_load_model_malicious_config_raises_without_executing(tamper: Tamper, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with_config(tmp_path, tamper, trace)
    with pytest.raises(ValueError, match=r"model\.keras must be a Keras file with built-in layers only"):
        artifact.load_model(tmp_path)
    assert not trace.exists() or trace.read_text() == "secret words\n"


def test_load_model_lambda_layer_raises(tmp_path: Path) -> None:
    """Fails with safe_mode=False in artifact.load_model."""
    small_model(keras.layers.Lambda(lambda values: values * 2)).save(tmp_path / "model.keras")
    keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)  # would run without safe mode
    with pytest.raises(ValueError, match=r"must be a Keras file with built-in layers only: .*[lL]ambda"):
        artifact.load_model(tmp_path)


def test_load_model_hdf5_with_keras_suffix_raises(tmp_path: Path) -> None:
    small_model(keras.layers.Lambda(lambda values: values * 2)).save(tmp_path / "model.h5")
    (tmp_path / "model.h5").rename(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="must be a Keras file with built-in layers only"):
        artifact.load_model(tmp_path)
