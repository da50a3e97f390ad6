"""Reads weight files of any supported format, chosen by content and never by name, without running code from them."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from radiograft.storage import keras_weights, npz_archive, numpy_pickle, torch_checkpoint
from radiograft.storage.keras_weights import HDF5_START, KERAS_WEIGHTS, KerasFile, KerasLayer
from radiograft.storage.safe_pickle import UnsafeCheckpointError
from radiograft.storage.zip_members import ZIP_START, member_names

TORCH, KERAS, TFLITE = "torch", "keras", "tflite"  # names and axes of tensors
SAVED_MODEL = (
    "a SavedModel of TF-Hub cannot be cut at a layer, because it holds operations instead of layers; "
    "give the weights of the same network as a file of Keras or PyTorch"
)
FORMATS = "Keras's .h5, .weights.h5 or .keras, PyTorch's .pth or .pt, .safetensors, .npz, or a pickle of NumPy arrays"
MAX_EXPANSION = 10  # of a compressed .npz archive; weights shrink by a tenth at most
_ARCHIVES = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")


class WeightFile(NamedTuple):
    """The content of a weight file.

    Attributes:
        format: for people.
        order: `torch`: PyTorch's names, kernels (output, input, height, width). `keras`: names `LAYER/NUMBER`, kernels
            (height, width, input, output). `tflite`: in the order of operations, normalizations folded in.
        tensors: by name, in the file's order.
        layers: of a Keras file, also those without weights.
        rescaling: (scale, offset) by channel, if the file has the network's own normalization of its input.
        module: class of a pickled PyTorch module; empty for a state dict.
    """

    format: str
    order: str
    tensors: dict[str, NDArray[Any]]
    layers: tuple[KerasLayer, ...] = ()
    rescaling: Mapping[str, tuple[float, float]] = MappingProxyType({})
    module: str = ""

    @property
    def parameters(self) -> int:
        """Number of values in all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())


def read_weight_file(path: Path) -> WeightFile:
    """Reads a weight file.

    Raises:
        UnsafeCheckpointError: a pickle refers to code that tensors do not need. No code was run.
        ValueError: the format is not supported, or the file is corrupt. The message names the file.
    """
    try:
        return _read(path)
    except ValueError as error:
        kind = UnsafeCheckpointError if isinstance(error, UnsafeCheckpointError) else ValueError
        raise kind(f"{path.name} must be a readable weight file: {error}") from error


def _read(path: Path) -> WeightFile:
    if path.is_dir():
        raise ValueError(SAVED_MODEL if (path / "saved_model.pb").exists() else "it is a folder; give a file")
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(HDF5_START):
        return _from_keras("Keras, HDF5", keras_weights.read_hdf5(path))
    if start.startswith(ZIP_START):
        return _read_zip(path)
    if start.startswith(torch_checkpoint.LEGACY_START):
        return _from_torch("PyTorch, legacy", path)
    if start.startswith(numpy_pickle.PICKLE_START):
        return WeightFile("NumPy pickle", KERAS, dict(numpy_pickle.read_arrays(path.read_bytes())))
    if start[8:9] == b"{":
        return WeightFile("safetensors", TORCH, _read_safetensors(path))
    if start.startswith(_ARCHIVES) or start[257:262] == b"ustar" or path.name == "saved_model.pb":
        raise ValueError(f"it is an archive or a SavedModel: {SAVED_MODEL}")
    raise ValueError(f"its content must be {FORMATS}, got {start[:8]!r}")


def _read_zip(path: Path) -> WeightFile:
    names = member_names(path)
    if KERAS_WEIGHTS in names:
        return _from_keras("Keras, .keras archive", keras_weights.read_keras(path))
    if names and all(name.endswith(".npy") for name in names):
        return _read_npz(path)
    return _from_torch("PyTorch, zip", path)


def _from_keras(kind: str, file: KerasFile) -> WeightFile:
    tensors = {f"{layer.name}/{n}": array for layer in file.layers for n, array in enumerate(layer.arrays)}
    return WeightFile(kind, KERAS, tensors, tuple(file.layers), file.rescaling)


def _from_torch(kind: str, path: Path) -> WeightFile:
    checkpoint = torch_checkpoint.read_checkpoint(path)
    content = f"whole module {checkpoint.module}" if checkpoint.module else "state dict"
    return WeightFile(f"{kind}, {content}", TORCH, checkpoint.tensors, module=checkpoint.module)


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import numpy

    try:
        return dict(numpy.load(path.read_bytes()))
    except Exception as error:  # the library has no base class for its errors
        raise ValueError(f"the .safetensors file is corrupt or has a dtype that NumPy lacks: {error}") from error


def _read_npz(path: Path) -> WeightFile:
    content = path.read_bytes()
    with npz_archive.open_npz_file("its .npz archive", io.BytesIO(content)) as archive:
        headers = {name: archive.header(name) for name in archive.names()}
        size = sum(abs(math.prod(header.shape)) * header.dtype.itemsize for header in headers.values())
        if size > MAX_EXPANSION * len(content):
            raise ValueError(f"its arrays must have at most {MAX_EXPANSION} times its bytes, got {size:,}")
        tensors: dict[str, np.ndarray] = {name: archive.read(name, size) for name in headers}
    is_folded = any(name.endswith("_kernel") for name in tensors)
    return WeightFile(".npz archive", TFLITE if is_folded else TORCH, tensors)
