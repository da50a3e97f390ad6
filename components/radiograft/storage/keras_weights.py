"""Reads the weights in files of Keras: .h5, .weights.h5 and .keras. No network is built and no code is run.

Only objects of the file itself are read: HDF5 links to other files are not followed.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import h5py
from numpy.typing import NDArray

from radiograft.storage.hdf5_check import check_dataset, check_hdf5
from radiograft.storage.zip_members import open_members, read_member
from radiograft.utils.json_io import parse_json_object

HDF5_START = b"\x89HDF\r\n\x1a\n"
KERAS_WEIGHTS = "model.weights.h5"  # member of a .keras archive
KERAS_CONFIG = "config.json"
RESCALING_PREFIX = "normalise_"  # of the layers that normalize the input of our own networks


class KerasLayer(NamedTuple):
    """A layer of a file: its name, its key in the files of Keras 3 (empty in older ones), and its arrays."""

    name: str
    key: str
    arrays: list[NDArray[Any]]


class KerasFile(NamedTuple):
    """The layers of a file, and (scale, offset) of each channel if it is a .keras file of one of our own networks."""

    layers: list[KerasLayer]
    rescaling: dict[str, tuple[float, float]]


def read_hdf5(path: Path) -> KerasFile:
    """Reads an .h5 or .weights.h5 file, or a whole model that was saved as .h5.

    Raises:
        ValueError: the file is corrupt, or is not one of Keras.
    """
    check_hdf5(path)
    try:
        with h5py.File(path) as file:
            link = file.get("model_weights", getlink=True)
            root = file["model_weights"] if isinstance(link, h5py.HardLink) else file
            layers = list(_legacy_layers(root) if "layer_names" in root.attrs else _layers(root))
    except Exception as error:  # h5py raises many types
        raise ValueError(f"the HDF5 file must be one of Keras: {error}") from error
    if not any(layer.arrays for layer in layers):
        raise ValueError("the HDF5 file must be one of Keras, but it has no weights")
    return KerasFile(layers, {})


def read_keras(path: Path) -> KerasFile:
    """Reads the weights in a .keras archive; of its configuration only the scaling of the input is read.

    Raises:
        ValueError: the file is corrupt.
    """
    with open_members(io.BytesIO(path.read_bytes())) as zipped, tempfile.TemporaryDirectory(dir=path.parent) as folder:
        config = parse_json_object(read_member(zipped, KERAS_CONFIG), KERAS_CONFIG)
        weights = Path(folder) / f"{path.stem}.weights.h5"
        weights.write_bytes(read_member(zipped, KERAS_WEIGHTS))
        return KerasFile(read_hdf5(weights).layers, dict(_rescaling(config)))


def _objects(root: h5py.Group) -> dict[str, h5py.Group | h5py.Dataset]:
    """Returns all groups and datasets below a group by path, without following links."""
    objects: dict[str, h5py.Group | h5py.Dataset] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            check_dataset(item)
        objects[name] = item

    root.visititems(add)
    return objects


def _legacy_layers(root: h5py.Group) -> Iterator[KerasLayer]:
    """Yields the layers in the order of the network. A group of a nested network is split into its layers."""
    objects = _objects(root)
    for group in map(_text, root.attrs["layer_names"]):
        paths = [_text(name) for name in objects[group].attrs["weight_names"]]
        variables = [path.rpartition("/")[2] for path in paths]
        is_nested = len(set(variables)) < len(variables)
        layers: dict[str, list[NDArray[Any]]] = {}
        for path in paths:
            name = path.rpartition("/")[0] if is_nested else group
            layers.setdefault(name.replace("/", "_"), []).append(objects[f"{group}/{path}"][()])
        yield from (KerasLayer(name, "", arrays) for name, arrays in layers.items())


def _layers(root: h5py.Group) -> Iterator[KerasLayer]:
    """Yields the layers of a file of Keras 3, in alphabetical order; layers without weights too."""
    objects = _objects(root)
    for path, group in objects.items():
        parent, _, last = path.rpartition("/")
        if last == "vars" and isinstance(group, h5py.Group) and parent and not path.startswith("optimizer"):
            key = parent.rpartition("/")[2]
            names = sorted((name for name in group if name.isdigit()), key=int)
            yield KerasLayer(
                _text(group.attrs.get("name", key)), key, [objects[f"{path}/{name}"][()] for name in names]
            )


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _rescaling(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[float, float]]]:
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    for layer in layers if isinstance(layers, list) else ():
        match layer:
            case {
                "class_name": "Rescaling",
                "config": {"name": str(name), "scale": int() | float() as scale, "offset": int() | float() as offset},
            } if name.startswith(RESCALING_PREFIX) and scale > 0:
                yield name.removeprefix(RESCALING_PREFIX), (float(scale), float(offset))
