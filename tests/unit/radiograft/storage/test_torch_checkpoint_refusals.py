"""Pickles that would run code or exhaust resources, at every position of a legacy PyTorch checkpoint."""

import os
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from radiograft.storage.torch_checkpoint import UnsafeCheckpointError, read_tensors

PICKLES = {
    "magic": pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2),
    "version": pickle.dumps(1001, protocol=2),
    "system": pickle.dumps({"little_endian": True}, protocol=2),
    "state": pickle.dumps(OrderedDict(), protocol=2),
    "keys": pickle.dumps([], protocol=2),
}


def read_with(position: str, hostile: bytes, folder: Path) -> dict[str, NDArray[np.generic]]:
    """Reads a checkpoint without tensors in which one of the five pickles is replaced by a hostile one."""
    path = folder / "checkpoint.pth"
    path.write_bytes(b"".join((PICKLES | {position: hostile}).values()))
    return read_tensors(path)


@pytest.mark.parametrize("position", PICKLES)
def test_read_tensors_of_unmodified_checkpoint_succeeds(position: str, tmp_path: Path) -> None:
    assert read_with(position, PICKLES[position], tmp_path) == {}


class Call:
    """Pickles as a call, which the standard unpickler executes."""

    def __init__(self, function: object, argument: str) -> None:
        self.function, self.argument = function, argument

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return self.function, (self.argument,)


@pytest.mark.parametrize("position", PICKLES)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("wrap", [lambda call: call, lambda call: OrderedDict(w=[{"x": (call,)}])])
@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        (os.system, "touch {}", r"refused the global \w+\.system"),
        (eval, "open({!r}, 'w').close()", r"refused the global \w+\.eval"),
        (exec, "open({!r}, 'w').close()", r"refused the global \w+\.exec"),
    ],
)
def test_read_tensors_code_in_pickle_raises_without_running_it(
    position: str,
    protocol: int,
    wrap: Callable[[Call], object],
    function: object,
    argument: str,
    message: str,
    tmp_path: Path,
) -> None:
    trace = tmp_path / "trace"
    hostile = pickle.dumps(wrap(Call(function, argument.format(str(trace)))), protocol)
    pickle.loads(hostile)
    assert trace.exists(), "the standard unpickler must run the code of this pickle"
    trace.unlink()
    with pytest.raises(UnsafeCheckpointError, match=message):
        read_with(position, hostile, tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (b"ctorch._utils\n_rebuild_sparse_tensor\n", "torch._utils._rebuild_sparse_tensor"),
        (b"ctorch\nload\n", "torch.load"),
        (b"ctorch\n_utils._rebuild_tensor_v2\n", "torch._utils._rebuild_tensor_v2"),
        (b"(iposix\nsystem\n", "posix.system"),
        (b"\x82\x01", "copyreg's extension code 1"),
    ],
)
def test_read_tensors_other_global_raises(opcodes: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsafeCheckpointError, match=f"refused the global .*{message}"):
        read_with("state", b"\x80\x02" + opcodes + b".", tmp_path)


def test_read_tensors_huge_memo_index_raises(tmp_path: Path) -> None:
    bomb = b"\x80\x02Nr" + struct.pack("<I", 2**24) + b"."
    with pytest.raises(ValueError, match="memo index 16777216 is larger than the pickle"):
        read_with("magic", bomb, tmp_path)


def test_read_tensors_deep_nesting_raises(tmp_path: Path) -> None:
    nested_key = b"\x80\x02})" + b"\x85" * 60_000 + b"Ns."
    with pytest.raises(ValueError, match="a tuple may hold at most 1000 objects, nested ones included"):
        read_with("state", nested_key, tmp_path)


@pytest.mark.parametrize(
    "twice",
    [b"2\x86", b"q\x01h\x01\x86", b"q\x010(h\x01h\x01t", b")0q\x01h\x01\x86", b"q\x01(0h\x01\x86"],
    ids=["duplicated", "fetched", "from a mark", "popped between", "mark popped between"],
)
def test_read_tensors_exponential_tuple_raises(twice: bytes, tmp_path: Path) -> None:
    """Without the check on tuples this test would not finish."""
    key = b"\x80\x02})" + twice * 60 + b"Ns."
    with pytest.raises(ValueError, match="a tuple may hold at most 1000 objects"):
        read_with("state", key, tmp_path)


def test_read_tensors_too_many_opcodes_raises(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 200000 opcodes"):
        read_with("state", b"\x80\x02" + b"N0" * 100_001 + b"N.", tmp_path)
