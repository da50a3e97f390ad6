"""Valid and corrupt PyTorch checkpoints in the legacy format, assembled from opcodes."""

import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from radiograft.storage.torch_checkpoint import read_tensors

FLOATS = {"float64": "DoubleStorage", "float32": "FloatStorage", "float16": "HalfStorage"}
INTEGERS = {"int64": "LongStorage", "int32": "IntStorage", "int16": "ShortStorage", "int8": "CharStorage"}
STORAGE_TYPES = FLOATS | INTEGERS | {"uint8": "ByteStorage", "bool": "BoolStorage"}


def code(value: object) -> bytes:
    """Returns the opcodes that push a plain value: its pickle without PROTO and STOP."""
    return pickle.dumps(value, protocol=2)[2:-1]


def global_opcodes(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def storage_opcodes(kind: str, key: str, elements: int) -> bytes:
    fields = (code("storage"), global_opcodes("torch", kind), code(key), code("cpu"), code(elements), code(None))
    return b"(" + b"".join(fields) + b"tQ"


def tensor_opcodes(storage: bytes, offset: int, size: object, stride: object) -> bytes:
    hooks = global_opcodes("collections", "OrderedDict") + b")R"
    arguments = storage + code(offset) + code(size) + code(stride) + code(False) + hooks
    return global_opcodes("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def state_dict(tensors: dict[str, bytes], attribute: str = "_metadata") -> bytes:
    """Returns the pickle of an OrderedDict with an attribute, such as PyTorch's `_metadata`."""
    items = b"".join(code(name) + opcodes for name, opcodes in tensors.items())
    build = code({attribute: {"version": 1}}) + b"b."
    return b"\x80\x02" + global_opcodes("collections", "OrderedDict") + b")R(" + items + b"u" + build


def raw(array: NDArray[np.generic]) -> bytes:
    return struct.pack("<q", array.size) + array.tobytes()


def checkpoint(storages: dict[str, bytes], **pickles: bytes) -> bytes:
    parts = {
        "magic": pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
        "version": pickle.dumps(1001, protocol=2),
        "system": pickle.dumps({"little_endian": True}, protocol=2),
        "state": state_dict({}),
        "keys": pickle.dumps(list(storages), protocol=2),
    }
    return b"".join((parts | pickles).values()) + b"".join(storages.values())


def one_tensor(offset: int, size: object, stride: object) -> bytes:
    """Returns a checkpoint with a tensor "w" in a storage of the floats 0 to 5."""
    state = state_dict({"w": tensor_opcodes(storage_opcodes("FloatStorage", "7", 6), offset, size, stride)})
    return checkpoint({"7": raw(np.arange(6, dtype="<f4"))}, state=state)


def read(content: bytes, folder: Path) -> dict[str, NDArray[np.generic]]:
    path = folder / "checkpoint.pth"
    path.write_bytes(content)
    return read_tensors(path)


def test_read_tensors_with_shared_storage_and_strides(tmp_path: Path) -> None:
    floats = storage_opcodes("FloatStorage", "94", 6)
    state = state_dict(
        {
            "conv.weight": tensor_opcodes(floats, 0, (2, 3), (3, 1)),
            "conv.transposed": tensor_opcodes(floats, 0, (3, 2), (1, 3)),
            "conv.bias": tensor_opcodes(floats, 4, (2,), (1,)),
            "steps": tensor_opcodes(storage_opcodes("LongStorage", "12", 1), 0, (), ()),
            "none": tensor_opcodes(storage_opcodes("HalfStorage", "13", 0), 0, (0, 5), (5, 1)),
        }
    )
    storages = {
        "12": raw(np.array([2**40], "<i8")),
        "13": raw(np.array([], "<f2")),
        "94": raw(np.array([1.5, 2, 3, 4, 5, -6], "<f4")),
    }
    tensors = read(checkpoint(storages, state=state), tmp_path)
    assert list(tensors) == ["conv.weight", "conv.transposed", "conv.bias", "steps", "none"]
    assert tensors["conv.weight"].dtype == np.float32
    assert tensors["conv.weight"].tolist() == [[1.5, 2, 3], [4, 5, -6]]
    assert tensors["conv.transposed"].tolist() == [[1.5, 4], [2, 5], [3, -6]]
    assert tensors["conv.bias"].tolist() == [5, -6]
    assert tensors["steps"].dtype == np.int64
    assert tensors["steps"].tolist() == 2**40
    assert tensors["none"].shape == (0, 5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(array=npst.arrays(st.sampled_from(list(STORAGE_TYPES)), npst.array_shapes(min_dims=0, max_side=4)))
def test_read_tensors_returns_written_array(array: NDArray[np.generic], tmp_path: Path) -> None:
    strides = tuple(step // array.itemsize for step in array.strides)
    storage = storage_opcodes(STORAGE_TYPES[array.dtype.name], "0", array.size)
    state = state_dict({"w": tensor_opcodes(storage, 0, array.shape, strides)})
    result = read(checkpoint({"0": raw(array)}, state=state), tmp_path)["w"]
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)


@pytest.mark.parametrize(
    "permitted",
    [
        global_opcodes("torch", "FloatStorage"),
        global_opcodes("torch._utils", "_rebuild_tensor_v2"),
        global_opcodes("collections", "OrderedDict"),
    ],
)
@pytest.mark.parametrize("attributes", [{"dtype": "<f8"}, {"__call__": 1}, {"items": 1}])
def test_read_tensors_pickle_setting_attributes_raises(
    permitted: bytes, attributes: dict[str, object], tmp_path: Path
) -> None:
    build = b"(N" + code(attributes) + b"tb."
    with pytest.raises(ValueError, match="pickle of the state dict"):
        read(checkpoint({}, state=b"\x80\x02" + permitted + build), tmp_path)
    assert read(one_tensor(0, (6,), (1,)), tmp_path)["w"].tolist() == [0, 1, 2, 3, 4, 5]


def test_read_tensors_ignores_attributes_of_state_dict(tmp_path: Path) -> None:
    state = state_dict({"w": tensor_opcodes(storage_opcodes("ByteStorage", "7", 1), 0, (1,), (1,))}, attribute="items")
    content = checkpoint({"7": raw(np.array([9], "u1"))}, state=state)
    assert read(content, tmp_path)["w"].tolist() == [9]


def test_read_tensors_truncated_file_raises(tmp_path: Path) -> None:
    whole = one_tensor(0, (2, 3), (3, 1))
    for length in range(len(whole)):
        with pytest.raises(ValueError, match=r"corrupt|whole"):
            read(whole[:length], tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.data())
def test_read_tensors_corrupt_bytes_raise_value_error_only(data: st.DataObject, tmp_path: Path) -> None:
    check_corrupted(one_tensor(0, (2, 3), (3, 1)), data, tmp_path)


def check_corrupted(whole: bytes, data: st.DataObject, folder: Path) -> None:
    """Changes up to three bytes of a checkpoint of six elements: it is rejected, or read without further elements."""
    content = bytearray(whole)
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    try:
        tensors = read(bytes(content), folder)
    except ValueError:
        return
    assert all(array.nbytes <= 6 * 8 for array in tensors.values())


BEYOND = "'w' reaches beyond its storage"
NOT_NATURAL = "must be integers of at least 0"


@pytest.mark.parametrize(
    ("offset", "size", "stride", "message"),
    [
        (6, (1,), (1,), BEYOND),
        (1, (2, 3), (3, 1), BEYOND),
        (0, (7,), (1,), BEYOND),
        (0, (2, 3), (4, 1), BEYOND),
        (0, (2,), (6,), BEYOND),
        (0, (2**70,), (1,), BEYOND),
        (0, (2,), (2**70,), BEYOND),
        (2**70, (1,), (1,), BEYOND),
        (0, (2, 3), (1,), BEYOND),
        (-1, (1,), (1,), NOT_NATURAL),
        (0, (-1,), (1,), NOT_NATURAL),
        (5, (2,), (-1,), NOT_NATURAL),
        (0, (1.5,), (1,), NOT_NATURAL),
        (0, [6], (1,), "must be tuples"),
        (0, (6,), 1, "must be tuples"),
        (0, (10**6, 10**6), (0, 0), "'w' repeats elements of its storage"),
    ],
)
def test_read_tensors_outside_storage_raises(
    offset: int, size: object, stride: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        read(one_tensor(offset, size, stride), tmp_path)


@pytest.mark.parametrize("elements", [2**27, 2**62, 2**63 - 1])
def test_read_tensors_storage_larger_than_file_allocates_nothing(elements: int, tmp_path: Path) -> None:
    state = state_dict({"w": tensor_opcodes(storage_opcodes("FloatStorage", "7", elements), 0, (1,), (1,))})
    content = checkpoint({"7": struct.pack("<q", elements) + bytes(12)}, state=state)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="got only 12"):
            read(content, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


EMPTY = state_dict({"w": tensor_opcodes(storage_opcodes("FloatStorage", "7", 0), 0, (0,), (1,))})
TWO_TYPES = state_dict(
    {kind: tensor_opcodes(storage_opcodes(kind, "7", 1), 0, (1,), (1,)) for kind in ("FloatStorage", "LongStorage")}
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "pickle of the magic number is corrupt"),
        (checkpoint({}, magic=pickle.dumps(1)), "must have PyTorch's magic number"),
        (checkpoint({}, version=pickle.dumps(1000)), "protocol 1001"),
        (checkpoint({}, state=pickle.dumps([1])), "must hold a state dict, got a list"),
        (checkpoint({}, state=pickle.dumps({"epoch": 3})), "must map names to tensors, got a int"),
        (checkpoint({}, keys=pickle.dumps("7")), "storage keys must be a list of str"),
        (checkpoint({"7": raw(np.zeros(6, "<f4"))}), "storage keys must be the tensors' 0, got 1"),
        (checkpoint({"7": b""}, state=EMPTY), "must start with its 8-byte count"),
        (checkpoint({"7": raw(np.zeros(1, "<f4"))}, state=TWO_TYPES), "'7' must have one type and size"),
        (one_tensor(0, (6,), (1,)).replace(struct.pack("<q", 6), struct.pack("<q", 5)), "8-byte count"),
        (one_tensor(0, (6,), (1,)).replace(code("storage"), code("module!")), "must name a whole storage"),
    ],
)
def test_read_tensors_malformed_file_raises(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(content, tmp_path)
