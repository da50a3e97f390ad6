"""Weight files of every format, written without PyTorch: zip members and pickle opcodes by hand."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from tests.unit.radiograft.storage.test_torch_checkpoint import (
    STORAGE_TYPES,
    checkpoint,
    code,
    global_opcodes,
    raw,
    state_dict,
    storage_opcodes,
    tensor_opcodes,
)
from tests.unit.radiograft.storage.test_torch_zip import zip_checkpoint, zip_storage

Arrays = Mapping[str, np.ndarray]
EMPTY = global_opcodes("collections", "OrderedDict") + b")R"
HEADS = ("classifier.", "fc.", "aux1.", "aux2.")


def rule_tensors(shapes: Mapping[str, list[int]], *, with_heads: bool = True) -> dict[str, np.ndarray]:
    """Makes the random state dict for which the reference results were computed.

    Args:
        shapes: of all tensors.
        with_heads: False omits the classifiers, which no backbone needs and which are large in VGG-16 and AlexNet.
    """
    names = [name for name in shapes if with_heads or not name.startswith(HEADS)]
    return {name: _tensor(name, shapes[name], shapes) for name in names}


def _tensor(name: str, shape: list[int], shapes: Mapping[str, list[int]]) -> np.ndarray:
    random, (layer, _, part) = np.random.default_rng(zlib.crc32(name.encode())), name.rpartition(".")
    if part == "num_batches_tracked":
        return np.zeros((), "int64")
    if f"{layer}.running_mean" in shapes:
        low_high = {"weight": (0.5, 1.0), "running_var": (0.5, 1.5)}
        values = random.uniform(*low_high[part], shape) if part in low_high else 0.1 * random.standard_normal(shape)
    elif len(shape) > 1:
        values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = 0.05 * random.standard_normal(shape)
    return values.astype("float32")


def torch_zip(tensors: Arrays, *, wrapped_in: str = "", module: str = "") -> bytes:
    """Returns a file of PyTorch 1.6 and later: a state dict, also in a dictionary, or a whole module of this class."""
    opcodes = _tensor_opcodes(tensors, is_legacy=False)
    storages = {str(number): array.tobytes() for number, array in enumerate(tensors.values())}
    return zip_checkpoint(_state(opcodes, wrapped_in, module, is_legacy=False), storages)


def torch_legacy(tensors: Arrays, *, wrapped_in: str = "", module: str = "") -> bytes:
    """Returns a file as PyTorch before 1.6 wrote it; the arguments are those of `torch_zip`."""
    opcodes = _tensor_opcodes(tensors, is_legacy=True)
    storages = {str(number): raw(array) for number, array in enumerate(tensors.values())}
    return checkpoint(storages, state=_state(opcodes, wrapped_in, module, is_legacy=True))


def _tensor_opcodes(tensors: Arrays, *, is_legacy: bool) -> dict[str, bytes]:
    storage = storage_opcodes if is_legacy else zip_storage
    return {
        name: tensor_opcodes(
            storage(STORAGE_TYPES[array.dtype.name], str(number), array.size),
            0,
            array.shape,
            tuple(math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)),
        )
        for number, (name, array) in enumerate(tensors.items())
    }


def _state(opcodes: dict[str, bytes], wrapped_in: str, module: str, *, is_legacy: bool) -> bytes:
    if module:
        return b"\x80\x02" + module_opcodes(opcodes, module, is_legacy=is_legacy) + b"."
    state = state_dict(opcodes)
    if wrapped_in:
        return b"\x80\x02}(" + code("epoch") + code(3) + code(wrapped_in) + state[2:-1] + b"u."
    return state


def module_opcodes(tensors: dict[str, bytes], kind: str, *, is_legacy: bool) -> bytes:
    """Returns the opcodes of a module with these tensors as PyTorch pickles it: a tree of objects with their state."""
    parameters, buffers, children = b"", b"", {}
    for name, opcodes in tensors.items():
        child, _, rest = name.partition(".")
        if rest:
            children.setdefault(child, {})[rest] = opcodes
        elif name.startswith(("running_", "num_batches")):
            buffers += code(name) + opcodes
        else:
            rebuild = global_opcodes("torch._utils", "_rebuild_parameter")
            parameters += code(name) + rebuild + b"(" + opcodes + b"\x88" + EMPTY + b"tR"
    modules = b"".join(
        code(name) + module_opcodes(inner, _kind(inner), is_legacy=is_legacy) for name, inner in children.items()
    )
    state = code("training") + b"\x89" + code("_non_persistent_buffers_set") + b"c__builtin__\nset\n]\x85R"
    for group, items in (("_parameters", parameters), ("_buffers", buffers), ("_modules", modules)):
        state += code(group) + EMPTY + b"(" + items + b"u"
    return _class(kind, is_legacy=is_legacy) + b")\x81}(" + state + b"ub"


def _class(kind: str, *, is_legacy: bool) -> bytes:
    named = global_opcodes(*kind.rsplit(".", 1))
    if not is_legacy:
        return named
    return b"(" + code("module") + named + code("models.py") + code("class DenseNet: ...") + b"tQ"


def _kind(tensors: Mapping[str, bytes]) -> str:
    if "running_mean" in tensors:
        return "torch.nn.modules.batchnorm.BatchNorm2d"
    return "torch.nn.modules.conv.Conv2d" if "weight" in tensors else "torchvision.models.densenet._DenseBlock"


def safetensors_file(tensors: Arrays) -> bytes:
    return safetensors.numpy.save(dict(tensors))


def old_name(name: str) -> str:
    """Returns the name that DenseNet's tensors had before PyTorch 0.4, with the prefixes of CheXNet's checkpoints."""
    for kind in ("norm", "conv"):
        for number in "12":
            name = name.replace(f".{kind}{number}.", f".{kind}.{number}.")
    return f"module.densenet121.{name}"


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
