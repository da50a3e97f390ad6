"""Weight files of every format are read exactly, and corrupt and hostile ones are refused without running anything."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from radiograft.storage.safe_pickle import UnsafeCheckpointError
from radiograft.storage.weight_files import read_weight_file
from tests.helpers.weight_files import EMPTY, safetensors_file, torch_legacy, torch_zip, write
from tests.unit.radiograft.storage.test_torch_checkpoint import checkpoint, code, global_opcodes
from tests.unit.radiograft.storage.test_torch_zip import zip_checkpoint

XRV = "torchxrayvision.models.DenseNet"
random = np.random.default_rng(0)
TENSORS = {
    "features.conv0.weight": random.normal(size=(4, 1, 3, 3)).astype("float32"),
    "features.norm0.weight": random.normal(size=4).astype("float32"),
    "features.norm0.running_mean": random.normal(size=4).astype("float32"),
    "features.norm0.num_batches_tracked": np.array(7),
    "classifier.weight": random.normal(size=(18, 4)).astype("float16"),
}


def npz(arrays: Mapping[str, np.ndarray], *, compressed: bool = False) -> bytes:
    content = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(content, **arrays)  # type: ignore[arg-type]
    return content.getvalue()


FORMATS = {
    "PyTorch, zip, state dict": torch_zip(TENSORS),
    "PyTorch, legacy, state dict": torch_legacy(TENSORS),
    "PyTorch, zip, state dict in state_dict": torch_zip(TENSORS, wrapped_in="state_dict"),
    "PyTorch, legacy, state dict in model": torch_legacy(TENSORS, wrapped_in="model"),
    f"PyTorch, zip, whole module {XRV}": torch_zip(TENSORS, module=XRV),
    f"PyTorch, legacy, whole module {XRV}": torch_legacy(TENSORS, module=XRV),
    "safetensors": safetensors_file(TENSORS),
    ".npz archive": npz(TENSORS),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_read_weight_file_returns_written_tensors(kind: str, tmp_path: Path) -> None:
    file = read_weight_file(write(tmp_path / "weights", FORMATS[kind]))
    assert file.format == kind.partition(" in ")[0]
    assert file.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert file.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(file.tensors[name], array)


@pytest.mark.parametrize("protocol", [3, 4])
def test_read_weight_file_numpy_pickle_returns_arrays(protocol: int, tmp_path: Path) -> None:
    arrays = [random.normal(size=(3, 3, 2, 4)).astype("float32"), np.asfortranarray(random.normal(size=(2, 3)))]
    file = read_weight_file(write(tmp_path / "a.pkl", pickle.dumps({"conv1": arrays}, protocol)))
    assert file.order == "keras"
    for number, array in enumerate(arrays):
        np.testing.assert_array_equal(file.tensors[f"conv1/{number}"], array)


CALL = global_opcodes("os", "mkdir") + b"(" + code("FOLDER") + b"tR"
IN_MODULE = global_opcodes(*XRV.rsplit(".", 1)) + b")\x81}(" + code("_modules") + CALL + b"ub"
CONTAINERS: dict[str, Callable[[bytes], bytes]] = {
    "zip": lambda call: zip_checkpoint(b"\x80\x02" + call + b".", {}),
    "legacy": lambda call: checkpoint({}, state=b"\x80\x02" + call + b"."),
    "numpy": lambda call: b"\x80\x03" + call + b".",
}


@pytest.mark.parametrize("opcodes", [CALL, IN_MODULE], ids=["call", "in a module"])
@pytest.mark.parametrize("container", CONTAINERS)
def test_read_weight_file_hostile_pickle_is_refused_and_runs_nothing(
    container: str, opcodes: bytes, tmp_path: Path
) -> None:
    made = str(tmp_path / "made")
    call = opcodes.replace(code("FOLDER"), code(made))
    if opcodes is CALL:
        pickle.loads(b"\x80\x02" + call + b".")
        Path(made).rmdir()  # the standard unpickler runs the call
    path = write(tmp_path / "weights.pth", CONTAINERS[container](call))
    with pytest.raises(UnsafeCheckpointError, match=r"weights.pth must be .*refused the global"):
        read_weight_file(path)
    assert not Path(made).exists()


def test_read_weight_file_function_of_torch_is_never_called(tmp_path: Path) -> None:
    """A stand-in takes the place of anything that a file names in torch.nn, and calling it does nothing."""
    call = global_opcodes("torch.nn.functional", "os") + b"(" + code("true") + b"tR"
    path = write(tmp_path / "a.pth", zip_checkpoint(b"\x80\x02}(" + code("w") + call + b"u.", {}))
    with pytest.raises(ValueError, match="must map names to tensors, got a Module") as caught:
        read_weight_file(path)
    assert not isinstance(caught.value, UnsafeCheckpointError)


def test_read_weight_file_module_that_contains_itself_is_refused(tmp_path: Path) -> None:
    inner = code("_modules") + EMPTY + b"(" + code("a") + b"h\x63" + code("b") + b"h\x63u"
    module = global_opcodes(*XRV.rsplit(".", 1)) + b")\x81q\x63}(" + inner + b"ub"
    path = write(tmp_path / "a.pt", zip_checkpoint(b"\x80\x02" + module + b".", {}))
    with pytest.raises(ValueError, match="must have at most 20000 modules"):
        read_weight_file(path)


def safetensors_of(header: bytes, data: bytes = bytes(8), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def described(**offsets: list[int]) -> bytes:
    return json.dumps({n: {"dtype": "F32", "shape": [2], "data_offsets": span} for n, span in offsets.items()}).encode()


@pytest.mark.parametrize(
    "content",
    [
        safetensors_of(described(a=[0, 8]), length=2**62),
        safetensors_of(described(a=[0, 8]), length=2**40),
        safetensors_of(described(a=[0, 8], b=[0, 8])),
        safetensors_of(described(a=[0, 8], b=[4, 12]), bytes(12)),
        safetensors_of(described(a=[0, 2**60])),
        safetensors_of(described(a=[8, 16])),
        safetensors_of(b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 8]}}'),
        safetensors_of(b"{" * 1000),
    ],
)
def test_read_weight_file_malformed_safetensors_raises(content: bytes, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole", safetensors_of(described(a=[0, 8])))
    assert read_weight_file(whole).tensors["a"].tolist() == [0, 0]
    path = write(tmp_path / "a.safetensors", content)
    with pytest.raises(ValueError, match=r"a\.safetensors must be a readable weight file: the \.safetensors file is"):
        read_weight_file(path)


def keras_zip(weights: bytes, config: bytes = b"{}", compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as zipped:
        zipped.writestr("config.json", config)
        zipped.writestr("model.weights.h5", weights)
    return content.getvalue()


def hdf5(fill: Callable[[h5py.File], object]) -> bytes:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        fill(file)
    return content.getvalue()


def one_layer(file: h5py.File) -> None:
    file["layers/conv2d/vars/0"] = np.arange(6.0)
    file["layers/conv2d/vars"].attrs["name"] = "conv1"


def test_read_weight_file_keras_layers_have_their_names(tmp_path: Path) -> None:
    rescaling = {"class_name": "Rescaling", "config": {"name": "normalise_gray", "scale": 2.0, "offset": -1}}
    config = json.dumps({"config": {"layers": [rescaling, 3, {"class_name": "Lambda"}]}}).encode()
    for content in (hdf5(one_layer), keras_zip(hdf5(one_layer), config)):
        file = read_weight_file(write(tmp_path / "a.txt", content))
        assert file.tensors["conv1/0"].tolist() == [0, 1, 2, 3, 4, 5]
    assert file.rescaling == {"gray": (2.0, -1.0)}


def outside_dataset(file: h5py.File) -> None:
    one_layer(file)
    file["layers/conv2d/vars"].create_dataset("1", (4,), "f4", external=[("/etc/hostname", 0, 16)])


def outside_link(file: h5py.File) -> None:
    file["layers/conv2d/vars/0"] = h5py.ExternalLink("/tmp/other.h5", "/secret")


def zeros(file: h5py.File) -> None:
    file.create_dataset("layers/conv2d/vars/0", (10**9,), "f4", compression="gzip", chunks=(10**6,))


@pytest.mark.parametrize("fill", [outside_dataset, outside_link, zeros, lambda file: None])
@pytest.mark.parametrize("wrap", [bytes, keras_zip])
def test_read_weight_file_hdf5_that_reaches_outside_is_refused(
    fill: Callable[[h5py.File], object], wrap: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"a\.h5 must be a readable weight file: .*HDF5 file"):
        read_weight_file(write(tmp_path / "a.h5", wrap(hdf5(fill))))


def saved_model(folder: Path) -> Path:
    (folder / "hub").mkdir()
    (folder / "hub" / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    return folder / "hub"


def hub_archive(folder: Path) -> Path:
    with tarfile.open(folder / "hub.tar.gz", "w:gz") as archive:
        archive.add(saved_model(folder))
    return folder / "hub.tar.gz"


@pytest.mark.parametrize("make", [saved_model, hub_archive, lambda folder: saved_model(folder) / "saved_model.pb"])
def test_read_weight_file_saved_model_is_refused_with_reason(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a SavedModel of TF-Hub cannot be cut at a layer"):
        read_weight_file(make(tmp_path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its content must be Keras's .h5, .weights.h5 or .keras, PyTorch's .pth"),
        (b"<html>please log in</html>", "its content must be"),
        (keras_zip(b"", b"[]"), "config.json must contain a JSON object"),
        (keras_zip(hdf5(one_layer), compression=zipfile.ZIP_DEFLATED), "must not be compressed"),
        (npz({"a": np.zeros(10**6)}, compressed=True), "its arrays must have at most 10 times its bytes"),
        (npz({"a": np.array([{}], object)}), "pickled objects, which are never loaded"),
        (pickle.dumps([1], 3), "must hold a dictionary of layers, got a list"),
        (pickle.dumps({"a": [1]}, 3), "each layer must be a list of arrays"),
        (pickle.dumps({"a": [np.zeros(3, int)]}, 3), "'a' must be an array of floats whose bytes fit its shape"),
        (pickle.dumps({"a": [np.zeros(3)]}, 3).replace(b"K\x03\x85", b"K\x04\x85"), "whose bytes fit its shape"),
    ],
)
def test_read_weight_file_unsupported_content_raises(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"a.h5 must be a readable weight file: .*{message}"):
        read_weight_file(write(tmp_path / "a.h5", content))
