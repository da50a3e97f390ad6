"""Valid, corrupt and hostile PyTorch checkpoints in the zip format."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from radiograft.storage.torch_checkpoint import UnsafeCheckpointError
from tests.unit.radiograft.storage.test_torch_checkpoint import (
    STORAGE_TYPES,
    check_corrupted,
    code,
    global_opcodes,
    read,
    state_dict,
    tensor_opcodes,
)


def zip_storage(kind: str, key: str, elements: int) -> bytes:
    """Returns the opcodes of a storage as the zip format writes them: without the legacy format's last None."""
    fields = (code("storage"), global_opcodes("torch", kind), code(key), code("cpu"), code(elements))
    return b"(" + b"".join(fields) + b"tQ"


def zip_checkpoint(state: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    members = {"archive/data.pkl": state, "archive/byteorder": b"little", "archive/version": b"3\n"}
    members |= {f"archive/data/{key}": content for key, content in storages.items()}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return stream.getvalue()


ZIP_TENSOR = tensor_opcodes(zip_storage("FloatStorage", "0", 6), 0, (2, 3), (3, 1))
SIX = np.arange(6, dtype="<f4").tobytes()
WHOLE_ZIP = zip_checkpoint(state_dict({"w": ZIP_TENSOR}), {"0": SIX})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(array=npst.arrays(st.sampled_from(list(STORAGE_TYPES)), npst.array_shapes(min_dims=0, max_side=4)))
def test_read_tensors_zip_returns_written_array(array: NDArray[np.generic], tmp_path: Path) -> None:
    strides = tuple(step // array.itemsize for step in array.strides)
    storage = zip_storage(STORAGE_TYPES[array.dtype.name], "0", array.size)
    state = state_dict({"w": tensor_opcodes(storage, 0, array.shape, strides)})
    result = read(zip_checkpoint(state, {"0": array.tobytes()}), tmp_path)["w"]
    assert result.dtype == array.dtype
    np.testing.assert_array_equal(result, array)


def test_read_tensors_wrapped_state_dict_is_unwrapped(tmp_path: Path) -> None:
    inner = state_dict({"module.w": ZIP_TENSOR})[2:-1]  # without PROTO and STOP
    wrapped = b"\x80\x02}(" + code("epoch") + code(3) + code("state_dict") + inner + b"u."
    tensors = read(zip_checkpoint(wrapped, {"0": SIX}), tmp_path)
    assert {name: array.tolist() for name, array in tensors.items()} == {"module.w": [[0, 1, 2], [3, 4, 5]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(100), "the zip archive is corrupt"),
        (zip_checkpoint(state_dict({"w": ZIP_TENSOR}), {}), r"must have the member 'archive/data/0'"),
        (zip_checkpoint(state_dict({"w": ZIP_TENSOR}), {"0": SIX[:-1]}), "must have 6 elements of 4 bytes, got 23"),
        (zip_checkpoint(state_dict({"w": ZIP_TENSOR}), {"0": SIX}, zipfile.ZIP_DEFLATED), "must not be compressed"),
        (WHOLE_ZIP.replace(b"data.pkl", b"data.pkx"), "must have one data.pkl in a folder, got 0"),
        (zip_checkpoint(state_dict({}), {}).replace(b"little", b"bigger"), "is corrupt"),
        (zip_checkpoint(pickle.dumps([1]), {}), "must hold a state dict, got a list"),
    ],
)
def test_read_tensors_malformed_zip_raises(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(content, tmp_path)


def test_read_tensors_hostile_zip_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    call = b"\x80\x02" + global_opcodes("os", "mkdir") + b"(" + code(str(tmp_path / "made")) + b"tR."
    with pytest.raises(UnsafeCheckpointError, match=r"refused the global os\.mkdir"):
        read(zip_checkpoint(call, {}), tmp_path)
    assert not (tmp_path / "made").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(data=st.data())
def test_read_tensors_corrupt_zip_raises_value_error_only(data: st.DataObject, tmp_path: Path) -> None:
    check_corrupted(WHOLE_ZIP, data, tmp_path)


def overlapping_zip() -> bytes:
    """Returns a checkpoint in which the bytes of one storage are a whole member with another storage."""
    inner, outer = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inner, "w") as zipped:
        zipped.writestr("archive/data/1", bytes(10_000))
        (second,) = zipped.filelist
        length = zipped.start_dir
    content = inner.getvalue()[:length]
    sizes = {"0": len(content), "1": 10_000}
    tensors = {k: tensor_opcodes(zip_storage("ByteStorage", k, size), 0, (size,), (1,)) for k, size in sizes.items()}
    with zipfile.ZipFile(outer, "w") as zipped:
        zipped.writestr("archive/data.pkl", state_dict(tensors))
        zipped.writestr("archive/data/0", content)
        second.header_offset = zipped.getinfo("archive/data/0").header_offset + 30 + len("archive/data/0")
        zipped.filelist.append(second)
    return outer.getvalue()


def test_read_tensors_zip_with_overlapping_members_raises(tmp_path: Path) -> None:
    """Otherwise a small file could fill the memory."""
    with pytest.raises(
        ValueError, match=r"members of a weight file must not overlap, got 20\d\d\d bytes in a file of 1"
    ):
        read(overlapping_zip(), tmp_path)
