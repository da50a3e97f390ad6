"""A model file that wants more than built-in layers is refused before anything of it runs."""

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

Spoil = Callable[[dict[str, Any], Path], None]


def small(*layers: keras.Layer) -> keras.Model:
    inputs = keras.Input((8, 8, 1))
    outputs = inputs
    for layer in (*layers, keras.layers.Flatten(), keras.layers.Dense(1)):
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


def with_config(folder: Path, spoil: Spoil, trace: Path) -> None:
    """Saves a small network whose configuration was spoilt."""
    path = folder / "model.keras"
    small().save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    spoil(config, trace)
    members["config.json"] = json.dumps(config).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    path.write_bytes(content.getvalue())


def a_call(config: dict[str, Any], trace: Path) -> None:
    """The whole model is a function of the standard library, to be called with arguments from the file."""
    config |= {"module": "os", "class_name": "system", "config": {"command": f"touch {trace}"}}


def a_call_in_a_layer(config: dict[str, Any], trace: Path) -> None:
    dense = config["config"]["layers"][-1]
    dense["config"]["kernel_initializer"] = {
        "module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function",
    }  # fmt: skip


def a_foreign_class(config: dict[str, Any], trace: Path) -> None:
    called = {"args": ["touch", str(trace)]}
    config["config"]["layers"][-1] |= {"module": "subprocess", "class_name": "Popen", "config": called}


def a_file_of_words(config: dict[str, Any], trace: Path) -> None:
    trace.write_text("secret words\n")
    layer = config["config"]["layers"][1]
    layer |= {"class_name": "StringLookup", "config": {"name": "words", "vocabulary": str(trace)}}


@pytest.mark.parametrize("spoil", [a_call, a_call_in_a_layer, a_foreign_class, a_file_of_words])
def test_a_spoilt_configuration_is_refused_and_nothing_of_it_runs(spoil: Spoil, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with_config(tmp_path, spoil, trace)
    with pytest.raises(ValueError, match=r"model\.keras must be a network of Keras.s own layers"):
        artifact.load_model(tmp_path)
    assert not trace.exists() or trace.read_text() == "secret words\n"


def test_a_lambda_layer_is_refused(tmp_path: Path) -> None:
    """Fails with safe_mode=False in artifact.load."""
    small(keras.layers.Lambda(lambda values: values * 2)).save(tmp_path / "model.keras")
    keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)  # elsewhere it would run
    with pytest.raises(ValueError, match=r"must be a network of Keras's own layers, got another file: .*[lL]ambda"):
        artifact.load_model(tmp_path)


def test_an_hdf5_file_under_this_name_is_no_way_round(tmp_path: Path) -> None:
    small(keras.layers.Lambda(lambda values: values * 2)).save(tmp_path / "model.h5")
    (tmp_path / "model.h5").rename(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="must be a network of Keras's own layers"):
        artifact.load_model(tmp_path)
