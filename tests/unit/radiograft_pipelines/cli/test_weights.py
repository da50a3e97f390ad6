"""`radiograft weights inspect` says what a file is, what it fits and how its input is scaled."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result

from radiograft.backbones import get_backbone
from radiograft_pipelines.cli.main import main
from tests.helpers.weight_files import safetensors_file, torch_zip, write
from tests.unit.radiograft.storage.test_torch_checkpoint import global_opcodes
from tests.unit.radiograft.storage.test_torch_zip import zip_checkpoint


def inspect(file: Path | str) -> Result:
    return CliRunner().invoke(main, ["weights", "inspect", str(file)])


def lines(result: Result) -> list[str]:
    return [" ".join(line.split()) for line in result.output.splitlines()]


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    network = get_backbone("squeezenet").build(include_top=False, weights=None, input_shape=(32, 32, 1))
    state = {"classifier.1.weight": np.zeros((3, 512, 1, 1), "float32")}
    for layer, prefix in get_backbone("squeezenet").layouts[0].names:
        kernel, bias = network.get_layer(layer).get_weights()
        state |= {f"{prefix}.weight": kernel.transpose(3, 2, 0, 1).copy(), f"{prefix}.bias": bias}
    return state


def test_weights_inspect_prints_format_family_fit_and_scaling(tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", safetensors_file(tensors))
    result = inspect(path)
    assert result.exit_code == 0, result.output
    assert lines(result) == [
        f"file {path}",
        "format safetensors",
        "origin torchxrayvision (one gray channel)",
        "tensors 51",
        "parameters 722,880",
        "input torchxrayvision: gray, x / 255 less 0.5, divided by 0.000488281 (-1024 to 1024)",
        "backbone fits missing misshapen surplus",
        "squeezenet yes 0 0 0",
    ]


def test_weights_inspect_misfit_prints_closest_backbone(tensors: dict[str, np.ndarray], tmp_path: Path) -> None:
    changed = {name: array for name, array in tensors.items() if name != "features.3.squeeze.bias"}
    changed |= {"features.0.bias": np.zeros(5, "float32"), "features.13.weight": np.zeros((1, 1, 1, 1), "float32")}
    result = inspect(write(tmp_path / "a.pth", torch_zip(changed)))
    assert result.exit_code == 0, result.output
    assert lines(result)[2:] == [
        "origin unknown",
        "tensors 51",
        "parameters 722,806",
        "input unknown, because no backbone fits",
        "backbone fits missing misshapen surplus",
        "squeezenet no 1 1 1",
        "squeezenet: 1 missing (features.3.squeeze.bias), 1 of another shape (features.0.bias [5] instead of [64]), "
        "1 surplus (features.13.weight)",
    ]


def test_weights_inspect_file_with_unknown_scaling_says_so(tmp_path: Path) -> None:
    network = get_backbone("squeezenet").build(include_top=False, weights=None, input_shape=(32, 32, 3))
    assert isinstance(network, keras.Model)
    network.save_weights(tmp_path / "RadImageNet.weights.h5")
    result = inspect(tmp_path / "RadImageNet.weights.h5")
    assert "input the file does not say how its input is scaled: set model_normalization to imagenet" in "\n".join(
        lines(result)
    )


def test_weights_inspect_hostile_or_missing_file_is_an_error(tmp_path: Path) -> None:
    call = b"\x80\x02" + global_opcodes("os", "system") + b"(X\x04\x00\x00\x00truetR."
    result = inspect(write(tmp_path / "a.pth", zip_checkpoint(call, {})))
    assert (result.exit_code, "refused the global os.system" in result.output) == (1, True)
    assert inspect(tmp_path / "nothing.pth").exit_code == 1
    (tmp_path / "saved_model.pb").touch()
    assert "a SavedModel of TF-Hub cannot be cut at a layer" in inspect(tmp_path).output
